"""`toolrm plan`: real train steps through the TPU's own compiler, without a TPU; and what it refuses.

Stored figures are GiB of a chip, by libtpu 0.0.51. They change with the model's code: look at what changed first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import chz
import jax
import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import plan as planning
from toolrm_jax.commands import plan_process
from toolrm_jax.commands.settings import config_names, load_config
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.lora import LoraConfig, adapter_values
from toolrm_jax.models.presets import preset
from toolrm_jax.parallel.estimate import Group
from toolrm_jax.parallel.hlo import IN_LAYERS, IN_LOOP, ONCE
from toolrm_jax.parallel.mesh import MeshConfig, arrange
from toolrm_jax.parallel.rules import AXES
from toolrm_jax.parallel.shardings import gathered_sizes
from toolrm_jax.parallel.topology import has_libtpu, parse
from toolrm_jax.train import ahead
from toolrm_jax.train.abstract import AbstractRun
from toolrm_jax.train.config import ModelConfig
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.speed import step_speed

tpu = pytest.mark.skipif(not has_libtpu(), reason="libtpu, the TPU's compiler, is not installed (extra `plan`)")
GIB = 2**30
TINY = {
    "model_type": "qwen3",
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": True,
}


def config(model: str, topology: str, rows: int, length: int = 4096, **mesh: int) -> planning.Config:
    base = planning.any_run()
    data = chz.replace(base.data, rows=rows, row_length=length)
    return planning.Config(model=model, topology=topology, train=chz.replace(base, data=data, mesh=MeshConfig(**mesh)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """A folder with a config alone: a plan needs no weights."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps(TINY))
    return str(folder)


@pytest.fixture
def without_libtpu(monkeypatch):
    monkeypatch.setattr("toolrm_jax.parallel.topology.has_libtpu", lambda: False)


@pytest.fixture(scope="module")
def tiny_plan(tiny) -> planning.Plan:
    """The train step of the tiny model on four CPU devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolrm_jax.parallel.topology.has_libtpu", lambda: False)
        return planning.plan(config(tiny, "v5e:2x2", 4, 128))


def sent(made: planning.Plan, kind: str = "", dtype: str = "", layers: bool | None = None) -> tuple[int, int]:
    """How many collectives run in a step, and their bytes: of all kinds, dtypes and places, or those named."""
    rows = [
        (count, size)
        for of_kind, of_dtype, place, count, size in made.answer["collectives"]
        if kind in ("", of_kind) and of_dtype.startswith(dtype) and layers in (None, place == IN_LAYERS)
    ]
    return sum(count for count, _ in rows), sum(size for _, size in rows)


def test_without_libtpu_it_shows_all_but_the_memory_and_says_so(without_libtpu, tiny, capsys):
    words = ["topology=v5e:2x2", f"model={tiny}", "train.data.rows=4", "train.data.row_length=128"]
    assert main(["plan", *words, "train.mesh.fsdp=2", "train.mesh.tensor=2"]) == 0
    out = capsys.readouterr().out
    assert "memory: not known, since libtpu is not installed (extra `plan`); compiled for CPU devices" in out
    assert "4 chips; mesh: fsdp 2, tensor 2" in out
    assert "in the layer loop" in out
    assert "no weight is gathered outside the layer loop" in out
    assert "estimate from published peaks, not measured" in out
    assert "fits" not in out


def test_a_plan_counts_the_collectives_of_every_layer(tiny_plan):
    made = tiny_plan
    assert made.answer["mesh"]["fsdp"] == 4
    gathers, size = sent(made, "all-gather", layers=True)
    # Seven matrices of a layer are gathered going forward, and seven again going back.
    assert gathers >= 5 * 14
    layer = sum(n for n in (64 * 64, 64 * 32, 64 * 32, 64 * 64, 3 * 64 * 128))
    assert size >= 5 * 2 * layer * 2
    assert made.answer["gathered_outside"] == []


MUTANT = """
from toolrm_jax.commands import plan_process
from toolrm_jax.models import trunk
from toolrm_jax.models.placement import constrain

scan = trunk.Trunk.scan

def gathered_first(self, stack, x, *rest):
    # Of each part's own hidden states, or the compiler takes it out of the loop over parts.
    gate = constrain(stack.gate[...] + 0 * x[0, 0, 0], "layers", "hidden", "mlp")
    stack.gate.set_value(constrain(gate, None, None, None))
    return scan(self, stack, x, *rest)

trunk.Trunk.scan = gathered_first
plan_process.main()
"""


@pytest.mark.parametrize(
    ("accumulate", "turns", "place"), [pytest.param(1, 1, ONCE, marks=pytest.mark.slow), (2, 2, IN_LOOP)]
)
def test_a_weight_that_is_gathered_before_the_layer_loop_is_named(
    without_libtpu, tiny, monkeypatch, accumulate, turns, place
):
    """The model made worse on purpose: all layers of one weight whole on every device, before the loop runs.

    In several parts that is in a loop too, and no loop over layers.
    """

    def compiled(job: dict) -> dict:
        command = [sys.executable, "-W", "ignore", "-c", MUTANT]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
        (answer,) = (line for line in done.stdout.splitlines() if line.startswith(plan_process.MARK))
        return json.loads(answer.removeprefix(plan_process.MARK))

    monkeypatch.setattr(plan_process, "compiled", compiled)
    wanted = config(tiny, "v5e:2x2", 4 * accumulate, 128)
    wanted = chz.replace(wanted, train=chz.replace(wanted.train, accumulate=accumulate))
    made = planning.plan(wanted)
    size = 5 * 64 * 128 * 4
    assert [told[:3] for told in made.answer["gathered_outside"]] == [["gate of 5 layers", turns, size]]
    of_place = [bytes for kind, _, where, _, bytes in made.answer["collectives"] if where == place]
    assert sum(of_place) >= turns * size
    text = "\n".join(planning.lines(wanted, made))
    assert f"weights gathered outside the layer loop:\n    gate of 5 layers, {turns} x 0.000 GiB by " in text
    assert "no weight is gathered" not in text


def test_sizes_of_gathered_weights_count_every_way_to_gather_one():
    """A projection of the MLP [64, 176] over fsdp 4 and tensor 2, of one layer and of all five."""
    shape = TrunkConfig.from_huggingface(TINY | {"intermediate_size": 176})
    sizes = gathered_sizes(shape, 0, dict.fromkeys(AXES, 1) | {"fsdp": 4, "tensor": 2})
    for held in (64 * 176, 64 * 176 // 2, 64 * 176 // 4):
        assert (sizes[held], sizes[5 * held]) == ("gate", "gate of 5 layers")
    assert 64 * 176 // 8 not in sizes, "where it is stored is no gather"
    assert sizes[256 * 64] == "embedding"
    assert 64 not in sizes, "nor is a vector of weight"
    assert gathered_sizes(shape, 0, dict.fromkeys(AXES, 1)) == {}
    frozen = gathered_sizes(shape, 2, dict.fromkeys(AXES, 1) | {"fsdp": 4})
    assert (frozen[2 * 64 * 176], frozen[3 * 64 * 176]) == ("gate of 2 layers", "gate of 3 layers")


@pytest.mark.parametrize("mesh", [{"fsdp": 2, "context": 2}, {"fsdp": 2, "expert": 2}])
def test_hidden_states_of_the_lookup_are_exchanged_and_never_gathered(without_libtpu, tiny, mesh):
    """From columns of the embedding to rows and tokens: the compiler gives up on some ways and gathers them whole."""
    made = planning.plan(config(tiny, "v5e:2x2", 4, 128, **mesh))
    # One row's hidden states are 128 x 64; beside them vectors and token ids go about.
    kinds = [("all-gather", "f"), ("all-gather", "bf"), ("collective-permute", "")]
    assert sum(sent(made, kind, dtype, layers=False)[1] for kind, dtype in kinds) < 64 * 64
    assert sent(made, "all-to-all", layers=False)[0] >= 2 * (1 + ("context" in mesh))


def test_a_score_step_needs_no_optimiser_and_sends_less(without_libtpu, tiny, tiny_plan):
    train = tiny_plan
    score = planning.plan(chz.replace(config(tiny, "v5e:2x2", 4, 128), step="score"))
    assert sent(score)[1] < sent(train)[1]
    assert score.estimate.flops_per_token == pytest.approx(train.estimate.flops_per_token / 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "topology is not given"),
        (["topology=v6e:2x2"], "model is not given; name a preset, such as model=Qwen3-8B"),
        (["topology=v6e:3x3"], "the nearest that works is v6e:"),
        (["topology=v6e:2x2", "model=Qwen3-9B"], "no preset 'Qwen3-9B'; the nearest are "),
        (["topology=v6e:2x2", "model=Qwen3-8B", "train.data.rows=6"], "data.rows=6: .* works is data.rows=8"),
        (
            ["topology=v6e:2x2", "model=Qwen3-8B", "train.mesh.tensor=3"],
            "mesh.tensor=3 does not divide 4 devices; .* works is mesh.tensor=2",
        ),
        (
            ["topology=v6e:4x4", "model=Qwen2.5-1.5B", "train.mesh.tensor=4"],
            "mesh.tensor=4: 'kv_heads' of .* is 2, which does not divide into 4 parts; .* works is mesh.tensor=2",
        ),
        # 7 would divide its 28 heads, but neither its 4 key-value heads nor 16 devices.
        (
            ["topology=v6e:4x4", "model=Qwen2.5-7B", "train.mesh.tensor=8", "train.data.rows=2"],
            "mesh.tensor=8: 'heads' of .* is 28, which does not divide into 8 parts; .* works is mesh.tensor=4",
        ),
        (
            ["topology=v6e:2x2", "model=Qwen3-8B", "train.mesh.context=4", "train.data.row_length=4098"],
            "mesh.context=4: rows of 4098 tokens do not divide over it; the nearest that works is mesh.context=2",
        ),
        (["topology=v6e:2x2", "model=Qwen3-8B", "train.accumulate=0"], "accumulate=0: expected a positive whole"),
        (
            ["topology=v6e:2x2", "model=Qwen3-8B", "train.accumulate=3"],
            "accumulate=3: data.rows=8 do not divide into so many parts",
        ),
        (
            ["topology=v6e:2x2", "model=Qwen3-8B", "train.data.rows=6", "train.accumulate=3"],
            "data.rows=6: those of each of accumulate=3 parts do not divide over 4 .* works is data.rows=12",
        ),
        (
            ["topology=v6e:2x2", "model=Qwen3-8B", "train.model.frozen_layers=40"],
            "frozen_layers=40: the model has 36 layers; the nearest that works is model.frozen_layers=36",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(without_libtpu, words, says, capsys):
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("toolrm: ")
    assert error.count("\n") == 1
    assert re.search(says, error), error


def test_an_experiments_config_can_be_planned():
    from toolrm_jax.configs import qwen3_0p6b

    found = planning.Config.of_experiment(qwen3_0p6b.config())
    assert planning.shape_of(found.model).hidden_size == 1024
    assert found.train == qwen3_0p6b.config().train
    assert planning.Config.of_experiment(object()) is None


PLANNED = [name for name in config_names() if planning.Config.of_experiment(load_config(name, object)) is not None]


@pytest.mark.parametrize("name", PLANNED)
def test_every_training_config_names_a_model_that_can_be_planned(name):
    found = planning.Config.of_experiment(load_config(name, object))
    model = found.model or found.train.model.path
    assert planning.shape_of(model, found.train.model.layers).num_hidden_layers > 0


def test_published_variants_of_a_shape_are_known_by_it():
    names = {
        "Qwen/Qwen3-4B-Thinking-2507": "Qwen3-4B",
        "Qwen/Qwen3-4B-Instruct-2507": "Qwen3-4B",
        "Qwen/Qwen3-8B-Base": "Qwen3-8B",
        "Qwen/Qwen2.5-Coder-7B-Instruct": "Qwen2.5-7B",
        "Qwen/Qwen2.5-Coder-14B": "Qwen2.5-14B",
        "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen3-30B-A3B",
        "smollm2-135m": "SmolLM2-135M",
    }
    for name, shape in names.items():
        assert planning.shape_of(name) == preset(shape)
    for unlike in ("Qwen/Qwen3-Embedding-4B", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-4B-Instruct-2507-FP8"):
        with pytest.raises(ModelError, match="no preset"):
            planning.shape_of(unlike)


def test_a_group_counts_the_keys_that_its_tokens_see():
    """A context of 3 and two answers of 2: 1 + 2 + 3, and twice 4 + 5."""
    assert Group(3, 2).tokens == 7
    assert Group(3, 2).keys == pytest.approx((6 + 2 * 9) / 7)


def peak_of_v5e() -> SimpleNamespace:
    return SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")


@pytest.mark.parametrize(
    ("changes", "answers", "predicted"),
    [
        ({}, 2, 0.0),
        ({"model": {"lora": LoraConfig(rank=16)}}, 2, 0.0),
        ({"model": {"frozen_layers": 8}}, 2, 0.0),
        ({"loss": LossWeights(next_token=0.5)}, 2, 64 / (1024 + 2 * 64)),
        ({"loss": LossWeights(next_token_context=0.5)}, 2, 1023 / (1024 + 2 * 64)),
        ({"task": "sft"}, 1, 64 / (1024 + 64)),
        ({"task": "sft", "model": {"lora": LoraConfig(rank=16)}}, 1, 64 / (1024 + 64)),
    ],
)
def test_a_plan_counts_the_work_that_a_run_of_it_reports(monkeypatch, changes, answers, predicted):
    """The share of the peak that a run logs, times the peak: both count with adapters, frozen layers and logits."""
    wanted = config("Qwen2.5-1.5B", "v5e:2x2", 8)
    changes = changes | {"model": chz.replace(wanted.train.model, **changes.get("model", {}))}
    wanted = chz.replace(wanted, train=chz.replace(wanted.train, **changes))
    shape, tokens, group = planning.shape_of("Qwen2.5-1.5B"), 8 * 4096, Group(1024, 64, answers)
    adapters = adapter_values(AbstractRun.of(wanted.train, shape).params)
    assert bool(adapters) == bool(wanted.train.model.lora.rank)
    run = step_speed(
        shape,
        wanted.train.model.frozen_layers,
        adapters,
        2.0,
        tokens,
        8.0,
        group.keys * tokens,
        predicted * tokens,
        [peak_of_v5e()] * 4,
    )
    work = planning.estimated(wanted, parse("v5e:2x2"), shape, 0, 0)
    assert work.flops_per_token == pytest.approx(run["mfu"] * 2.0 * 4 * 197e12 / tokens, rel=1e-9)
    assert work.flops_per_group == pytest.approx(work.flops_per_token * group.tokens)
    text = "\n".join(planning.lines(wanted, planning.Plan(parse("v5e:2x2"), shape, UNKNOWN, work)))
    assert ("TFLOPs a pair" in text) == (answers == 2)
    assert ("TFLOPs a task" in text) == (answers == 1)


UNKNOWN = {"mesh": {}, "memory": None, "kernels": [], "seconds": 1.0, "cpu_seconds": 1.0}
UNKNOWN |= {"collectives": [["all-reduce", "f32", ONCE, 1, GIB]], "gathered_outside": []}


def test_what_goes_between_slices_is_not_known_without_libtpu():
    """Of its collectives alone does libtpu say what it sends to other slices."""
    two, one = parse("v5e:2x2", 2), parse("v5e:2x2")
    wanted, shape = config("Qwen3-0.6B", "v5e:2x2", 8), planning.shape_of("Qwen3-0.6B")
    assert planning.sent(two, UNKNOWN) == (2 * GIB, None)
    assert planning.sent(one, UNKNOWN) == (2 * GIB, 0)
    known = UNKNOWN | {"memory": {}, "collectives": [["between slices", "bf16", ONCE, 1, GIB]]}
    assert planning.sent(two, known) == (0, GIB)
    work = planning.estimated(wanted, two, shape, 2 * GIB, None)
    assert work.network is None
    assert work.seconds == max(work.compute, work.links)
    text = "\n".join(planning.lines(wanted, planning.Plan(two, shape, UNKNOWN, work)))
    assert "between slices not known" in text
    assert planning.estimated(wanted, two, shape, 0, GIB).network > 0


def test_the_step_that_scores_has_the_rows_that_a_run_judges_at_a_time(without_libtpu, monkeypatch):
    """A training step of 8 rows in 2 parts has a held-out step of 4."""
    wanted = config("Qwen3-0.6B", "v5e:2x2", 8)
    wanted = chz.replace(wanted, train=chz.replace(wanted.train, accumulate=2))
    shape = planning.shape_of("Qwen3-0.6B")
    score = chz.replace(wanted, step="score")
    tokens = [planning.estimated(some, parse("v5e:2x2"), shape, 0, 0).tokens for some in (wanted, score)]
    assert tokens == [8 * 4096, 4 * 4096]
    given = []

    def stop(*arguments) -> None:
        given.append(arguments)
        raise ConfigError("enough")

    monkeypatch.setattr(ahead, "abstract_rows", stop)
    devices = [SimpleNamespace(platform="cpu", id=0)]
    monkeypatch.setattr(ahead, "run_mesh", lambda *_, **__: arrange(dict.fromkeys(AXES, 1), jax.devices()[:1]))
    for step in ("train", "score"):
        with pytest.raises(ConfigError, match="enough"):
            ahead.compile_step(wanted.train, shape, devices, step)
    assert [rows for _, rows, *_ in given] == [8, 4]


FIGURES = {
    ("Qwen3-0.6B", "v5e:2x2", 8, 4096): 3.37,
    ("Qwen2.5-14B", "v6e:8x8", 64, 4096): 6.82,
}


def check(model: str, topology: str, rows: int, length: int) -> planning.Plan:
    made = planning.plan(config(model, topology, rows, length))
    memory = made.answer["memory"]
    assert made.fits
    assert memory["total"] / GIB == pytest.approx(FIGURES[model, topology, rows, length], rel=0.03)
    assert memory["total"] <= made.topology.chip.hbm
    assert memory["optimizer"] == pytest.approx(2 * memory["parameters"], rel=1e-3)
    assert made.answer["gathered_outside"] == []
    assert {"forward_kernel", "dq_kernel", "dkv_kernel"} <= set(made.answer["kernels"]), "the attention kernel is in it"
    assert sent(made, layers=False)[1] < 0.1 * sent(made)[1]
    # Weights are gathered in the dtype of the computation, and their gradients summed in it: norms alone are float32.
    assert sent(made, dtype="f32", layers=True)[1] < 0.01 * sent(made, dtype="bf16", layers=True)[1]
    return made


@tpu
def test_qwen3_0p6b_fits_four_chips_of_v5e():
    check("Qwen3-0.6B", "v5e:2x2", 8, 4096)


@tpu
def test_qwen2p5_14b_fits_64_chips_of_v6e():
    check("Qwen2.5-14B", "v6e:8x8", 64, 4096)


@tpu
def test_qwen3_8b_with_rows_of_8192_does_not_fit_eight_chips_of_v5e(capsys):
    words = ["model=Qwen3-8B", "topology=v5e:2x4", "train.data.row_length=8192"]
    assert main(["plan", *words]) == planning.DOES_NOT_FIT
    out = capsys.readouterr().out
    assert "\ndoes not fit: fewer rows, another remat policy, or a larger slice" in out
    total, limit = (float(re.search(rf"{name} +([\d.]+) GiB", out)[1]) for name in ("total", "limit"))
    assert total > limit == 15.75
    assert "estimate" not in out, "of a step that cannot run there is none"


@tpu
@pytest.mark.slow
def test_forty_layers_compile_about_as_fast_as_ten():
    """CPU seconds of the compiler, since machines are shared."""
    base = config("Qwen3-14B", "v6e:8x8", 64)
    fewer = chz.replace(base, train=chz.replace(base.train, model=ModelConfig(path="", remat="full", layers=10)))
    few, many = planning.plan(fewer), planning.plan(base)
    assert (few.shape.num_hidden_layers, many.shape.num_hidden_layers) == (10, 40)
    assert many.answer["cpu_seconds"] <= 1.3 * few.answer["cpu_seconds"]
