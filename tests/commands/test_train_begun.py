"""What `toolrm train` does with a folder that it finds: goes on, has nothing to do, begins anew, or refuses."""

from __future__ import annotations

import json
import shutil

import chz
import jax
import numpy as np
import pytest
from flax import nnx

from toolrm_jax.commands import settings
from toolrm_jax.commands import train as command
from toolrm_jax.commands.trained import open_run, run_config
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.parallel import hosts
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.run_folder import saved_steps


@pytest.fixture
def run(finished, tmp_path):
    """The config of a finished run, in a folder of its own with data of its own."""
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copytree(finished / "groups", tmp_path / "groups")
    found = run_config(finished / "run")
    data = chz.replace(found.data, **{side: str(tmp_path / "groups" / side) for side in ("train", "held_out")})
    found = chz.replace(found, output=str(tmp_path / "run"), data=data)
    settings.save(found, tmp_path / "run")
    return found


@pytest.fixture
def begun(monkeypatch):
    """How a training was begun, none of which is."""
    asked: list[dict] = []
    monkeypatch.setattr(command, "_train", lambda config, inputs, **how: bool(asked.append(how)))
    return asked


def unfinish(folder, *gone: str) -> None:
    for name in ("card.json", *gone):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_finished_run_has_nothing_to_do_however_it_would_be_computed(run, begun):
    others = [{"accumulate": 1}, {"stall_after": 0.0}, {"model": chz.replace(run.model, remat="full", attention="xla")}]
    for changes in ({}, *others):
        assert command.train(chz.replace(run, **changes))
    assert begun == []


@pytest.mark.parametrize("found", ["finished", "begun", "begun by an older version"])
def test_a_run_goes_on_with_the_data_it_was_begun_with_or_not_at_all(run, begun, tmp_path, found):
    if found != "finished":
        unfinish(tmp_path / "run", *(["inputs.json"] if "older" in found else []))
        command.train(run)
        assert begun.pop() == {"overwrite": False, "remove": False}
    card = tmp_path / "groups" / "train" / "card.json"
    content = json.loads(card.read_bytes())
    card.write_text(json.dumps(content | {"drops": {"prepared again": 1}}))
    with pytest.raises(ConfigError, match=r"run: was begun with data\.train prepared otherwise .*; say overwrite=true"):
        command.train(run)
    assert begun == []
    command.train(run, overwrite=True)
    assert begun == [{"overwrite": True, "remove": True}]


@pytest.mark.parametrize("changes", [{"steps": 4}, {"data": {"rows": 2}}, {"optimizer": {"learning_rate": 1e-9}}])
def test_other_settings_are_refused_once_a_checkpoint_is_saved_and_free_before(run, begun, tmp_path, changes):
    nested = {name: chz.replace(getattr(run, name), **new) for name, new in changes.items() if isinstance(new, dict)}
    other = chz.replace(run, **(changes | nested))
    unfinish(tmp_path / "run")
    assert saved_steps(tmp_path / "run") == [5]
    with pytest.raises(ConfigError, match="was begun with"):
        command.train(other)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    command.train(other)
    assert begun == [{"overwrite": False, "remove": False}]


def test_a_folder_is_removed_by_the_first_process_alone_once_all_have_joined(run, tmp_path, monkeypatch):
    there = []
    monkeypatch.setattr(hosts, "start", lambda: there.append((tmp_path / "run" / "config.json").is_file()))
    monkeypatch.setattr(command, "_train_joined", lambda *_: there.append((tmp_path / "run").exists()))
    other = chz.replace(run, steps=4)
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    command.train(other, overwrite=True)
    monkeypatch.setattr(hosts, "is_first", lambda: True)
    command.train(other, overwrite=True)
    assert there == [True, True, True, False]
    assert not list(tmp_path.glob(".*")), "nothing is left of it"


@pytest.mark.parametrize(
    ("head", "changes", "told"),
    [
        ("score.weight", {}, True),
        ("score.weight", {"head_fit": HeadFit(steps=2)}, False),
        ("score.weight", {"task": "sft"}, False),
        ("lm_head.weight", {"loss": LossWeights()}, False),
        ("lm_head.weight", {"loss": LossWeights(next_token_context=0.1)}, True),
        ("lm_head.weight", {"task": "sft"}, True),
    ],
)
def test_a_head_that_the_backbone_lacks_is_told_of_where_it_is_trained_from_nothing(head, changes, told):
    data = DataConfig(train="", held_out="")
    config = TrainConfig(output="", model=ModelConfig(path=""), data=data, **changes)
    assert command._starts_at_zero(head, config) == told


def test_a_model_that_does_not_fit_the_devices_is_told_of_in_one_line(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("toolrm_jax.models.folder.load_model", full)
    with pytest.raises(ModelError, match=r"^the model does not fit the devices' memory; divide it over more devices"):
        command.train(chz.replace(run, output=str(tmp_path / "new")))
    monkeypatch.setattr("toolrm_jax.train.checkpoints.Checkpoints.restore_judged", full)
    with pytest.raises(ModelError, match=r"run: the model does not fit the devices' memory; open it on a larger"):
        open_run(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "5").is_dir()
    assert not (tmp_path / "run" / "damaged").exists()


def test_the_same_step_of_a_run_begun_anew_with_other_data_is_another_model(run, tmp_path):
    unfinish(tmp_path / "run")
    before = open_run(tmp_path / "run")[0].identity
    assert open_run(tmp_path / "run")[0].identity == before
    inputs = tmp_path / "run" / "inputs.json"
    inputs.write_text(json.dumps(json.loads(inputs.read_bytes()) | {"train": "prepared otherwise"}))
    assert open_run(tmp_path / "run")[0].identity != before


def test_a_run_opened_in_the_hosts_memory_is_the_same_model(run, tmp_path):
    there, here = (open_run(tmp_path / "run", on_host=on_host) for on_host in (False, True))
    assert (there[0].identity, there[1]) == (here[0].identity, here[1])
    for a, b in zip(*(jax.tree.leaves(nnx.split(opened.model)[1]) for opened, _ in (there, here)), strict=True):
        np.testing.assert_array_equal(a, b)
