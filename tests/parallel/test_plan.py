"""`toolrm plan`: real train steps through the TPU's own compiler, without a TPU; and what it refuses.

Stored figures are GiB of a chip, by libtpu 0.0.51. They change with the model's code: look at what changed first.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import chz
import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import plan as planning
from toolrm_jax.commands import plan_process, plan_search
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.parallel.estimate import Group
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.parallel.rules import AXES
from toolrm_jax.parallel.shardings import gathered_sizes
from toolrm_jax.parallel.topology import has_libtpu, parse
from toolrm_jax.train.config import ModelConfig

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


def sent(made: planning.Plan, kind: str = "", dtype: str = "", within: bool | None = None) -> tuple[int, int]:
    """How many collectives run in a step, and their bytes: of all kinds, dtypes and places, or those named."""
    rows = [
        (count, size)
        for of_kind, of_dtype, place, count, size in made.answer["collectives"]
        if kind in ("", of_kind) and of_dtype.startswith(dtype) and within in (None, place)
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
    gathers, size = sent(made, "all-gather", within=True)
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

def gathered_first(self, stack, *rest):
    stack.gate.set_value(constrain(stack.gate[...], None, None, None))
    return scan(self, stack, *rest)

trunk.Trunk.scan = gathered_first
plan_process.main()
"""


def test_a_weight_that_is_gathered_before_the_layer_loop_is_named(without_libtpu, tiny, monkeypatch, capsys):
    """The model made worse on purpose: all layers of one weight whole on every device, before the loop runs."""

    def compiled(job: dict) -> dict:
        command = [sys.executable, "-W", "ignore", "-c", MUTANT]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
        (answer,) = (line for line in done.stdout.splitlines() if line.startswith(plan_process.MARK))
        return json.loads(answer.removeprefix(plan_process.MARK))

    monkeypatch.setattr(plan_process, "compiled", compiled)
    made = planning.plan(config(tiny, "v5e:2x2", 4, 128))
    assert [(name, size) for name, size, _ in made.answer["gathered_outside"]] == [
        ("gate of 5 layers", 5 * 64 * 128 * 4)
    ]
    text = "\n".join(planning.lines(config(tiny, "v5e:2x2", 4, 128), made))
    assert "weights gathered outside the layer loop:\n    gate of 5 layers, 0.000 GiB by " in text
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
    assert sum(sent(made, kind, dtype, within=False)[1] for kind, dtype in kinds) < 64 * 64
    assert sent(made, "all-to-all", within=False)[0] >= 2 * (1 + ("context" in mesh))


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


def test_a_group_counts_the_keys_that_its_tokens_see():
    """A context of 3 and two answers of 2: 1 + 2 + 3, and twice 4 + 5."""
    assert Group(3, 2).tokens == 7
    assert Group(3, 2).keys == pytest.approx((6 + 2 * 9) / 7)


def test_search_ranks_only_what_divides_and_could_fit():
    wanted = plan_search.Config(model="Qwen3-8B", topology="v5e:4x4")
    shape, where = planning.shape_of("Qwen3-8B"), parse("v5e:4x4")
    found = list(plan_search.choices(wanted, shape, where))
    assert found
    for choice in found:
        assert math.prod(choice.sizes.values()) == 16
        assert choice.floor <= where.chip.hbm
    # 8.2 billion weights of 16 bytes (weight, two moments, gradient) do not go into 4 chips of 15.75 GiB.
    assert not list(plan_search.choices(wanted, shape, parse("v5e:2x2")))
    with pytest.raises(ConfigError, match="weights and optimiser alone exceed its memory"):
        plan_search.search(chz.replace(wanted, topology="v5e:2x2"))


def test_search_compiles_the_best_ranked_and_keeps_the_fastest_that_fits(monkeypatch):
    tried = []

    def plan(some):
        tried.append(some)
        fits = some.train.model.remat == "full"
        estimate = planning.estimated(some, parse("v6e:4x4"), planning.shape_of("Qwen3-8B"), [["", "", True, 1, 0]])
        answer = {"memory": {"fits": fits}, "collectives": []}
        return planning.Plan(parse("v6e:4x4"), planning.shape_of("Qwen3-8B"), answer, estimate)

    monkeypatch.setattr(planning, "plan", plan)
    said = []
    best, choices = plan_search.search(plan_search.Config(model="Qwen3-8B", topology="v6e:4x4", tries=30), said.append)
    assert len(choices) == len(tried) == len(said) <= 30
    assert best is None or best[0].remat == "full"
    assert any(line.startswith("does not fit") for line in said)


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
    assert sent(made, within=False)[1] < 0.1 * sent(made)[1]
    # Weights are gathered in the dtype of the computation, and their gradients summed in it: norms alone are float32.
    assert sent(made, dtype="f32", within=True)[1] < 0.01 * sent(made, dtype="bf16", within=True)[1]
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
