"""Every training recipe of configs/: its docstring, its commands, and that it fits the hardware it names."""

from __future__ import annotations

import importlib
import re
import shlex

import chz
import pytest
from flax import nnx
from jax.sharding import AbstractMesh

from toolrm_jax.commands import prepare, train
from toolrm_jax.commands.plan import shape_of
from toolrm_jax.commands.settings import config_names, load_config, resolve
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import with_adapters
from toolrm_jax.parallel.mesh import MeshConfig, mesh_sizes
from toolrm_jax.parallel.rules import AXES, row_parts
from toolrm_jax.parallel.shardings import bytes_per_device
from toolrm_jax.parallel.topology import parse
from toolrm_jax.train.config import TrainConfig, run_mesh
from toolrm_jax.train.layout import Layout
from toolrm_jax.train.optimizer import make_optimizer
from toolrm_jax.train.step import split

PARTS = ("Command:", "Hardware:", "Time:", "Expect:")


def recipe(name: str) -> TrainConfig | None:
    """The training settings of a config, of a whole experiment's too."""
    found = importlib.import_module(f"toolrm_jax.configs.{name.replace('/', '.')}").config()
    found = getattr(found, "train", found)
    return found if isinstance(found, TrainConfig) else None


def about(name: str) -> str:
    return importlib.import_module(f"toolrm_jax.configs.{name.replace('/', '.')}").__doc__


TRAINING = [name for name in config_names() if not name.startswith("sweeps/") and recipe(name)]
OF_TRAIN = [name for name in TRAINING if f"toolrm train config={name}" in about(name)]


def test_the_recipes_of_both_papers_and_of_every_kind_are_there():
    papers = {"toolrm_a_1p5b", "toolrm_a_7b", "toolrm_a_14b", "toolrm_b_disc_4b", "toolrm_b_disc_8b"}
    assert papers | {"toolrm_a_7b_lora", "toolrm_a_cpu", "policy_sft_1p5b"} == set(OF_TRAIN)
    assert {recipe(name).task for name in OF_TRAIN} == {"reward", "sft"}


@pytest.mark.parametrize("name", TRAINING)
def test_a_recipe_tells_command_hardware_time_and_what_to_expect(name):
    where = [about(name).find(f"\n{part}") for part in PARTS]
    assert -1 not in where
    assert sorted(where) == where
    time = about(name)[where[2] : where[3]]
    assert "measured" in time or "estimate" in time or name == "quickstart"


@pytest.mark.parametrize("name", OF_TRAIN)
def test_its_commands_can_be_given_as_they_stand(name):
    said = re.findall(r"toolrm (train|prepare) (.*)", about(name))
    assert [command for command, _ in said] == ["prepare", "train"]
    made = {}
    for command, words in said:
        module = {"train": train, "prepare": prepare}[command]
        kinds = getattr(module, "CONFIGS", module.Config)
        made[command] = resolve(command, kinds, shlex.split(words), None).config
    trained = made["train"]
    assert trained == load_config(name, TrainConfig)
    assert trained.output == f"runs/{name}"
    prepared = made["prepare"].output
    assert (trained.data.train, trained.data.held_out) == (f"{prepared}/train", f"{prepared}/held_out")
    run_mesh(chz.replace(trained, mesh=MeshConfig(data=1, fsdp=1), accumulate=1))


def hardware(name: str) -> tuple[int, float]:
    """Devices that a recipe names first, and the bytes of each."""
    line = re.search(r"Hardware:  (.*)", about(name))[1]
    if found := re.match(r"topology=([\w:]+)", line):
        where = parse(found[1])
        return where.devices, where.chip.hbm
    found = re.match(r"(one|two) (?:GPU of|CPU cores,) (\d+) (GB|GiB)", line)
    devices, size = {"one": 1, "two": 2}[found[1]], int(found[2]) * {"GB": 1e9, "GiB": 2**30}[found[3]]
    return devices, size / (devices if "CPU" in line else 1)


@pytest.mark.parametrize("name", OF_TRAIN)
def test_state_and_gradients_fit_the_hardware_that_the_recipe_names_and_its_rows_divide(name):
    config, (devices, room) = recipe(name), hardware(name)
    data, frozen_layers = config.data, config.model.frozen_layers
    shape = shape_of("SmolLM2-135M" if config.model.path == "smollm2-135m" else config.model.path, config.model.layers)
    assert data.row_length <= shape.max_position_embeddings
    sizes = mesh_sizes(config.mesh, devices, cpu="CPU" in about(name).partition("Time:")[0])
    mesh = AbstractMesh(tuple(sizes.values()), AXES)
    assert data.rows // config.accumulate % row_parts(sizes) == 0
    fresh = lambda: RewardModel(shape, frozen_layers=frozen_layers, rngs=nnx.Rngs(0))  # noqa: E731
    _, params, frozen = split(nnx.eval_shape(lambda: with_adapters(fresh(), config.model.lora)), config.task)
    optimizer = make_optimizer(config.optimizer, 100)
    layout = Layout.of(mesh, shape, frozen_layers, params, frozen, optimizer)
    state, frozen = layout.abstract(params, frozen, optimizer)
    held = bytes_per_device((state, frozen)) + bytes_per_device(state.params)
    # What is left is for the inputs of each layer (all that remat=full keeps) and one layer's own values.
    kept = 2 * data.row_length * shape.num_hidden_layers * shape.hidden_size
    assert held + kept < 0.8 * room, f"{held / 2**30:.1f} + {kept / 2**30:.1f} of {room / 2**30:.1f} GiB"


def test_rows_that_do_not_divide_into_their_parts_are_refused():
    config = recipe("toolrm_b_disc_4b")
    with pytest.raises(ConfigError, match="accumulate=3"):
        run_mesh(chz.replace(config, data=chz.replace(config.data, rows=16)))
