"""`toolrm plan search`: what is tried, in what order, what its floor of the memory leaves out, and what is told."""

from __future__ import annotations

import dataclasses
import itertools
import math

import chz
import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import plan as planning
from toolrm_jax.commands import plan_search
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.lora import LoraConfig, adapter_count, adapter_values
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.parallel.rules import AXES, row_parts
from toolrm_jax.parallel.topology import has_libtpu, parse
from toolrm_jax.train.abstract import AbstractRun
from toolrm_jax.train.floor import Floor
from toolrm_jax.train.optimizer import OptimizerConfig

GIB = 2**30
ONE = dict.fromkeys(AXES, 1)
TINY = TrunkConfig("qwen3", 256, 64, 128, 5, 4, 2, 16, 1e6, 1e-6, 4096, True)
EXPERTS = dataclasses.replace(
    TINY, model_type="qwen3_moe", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True
)


def wanted(topology: str = "v6e:4x4", model: str = "Qwen3-8B", accumulate: int = 1, **options) -> plan_search.Config:
    base = planning.any_run()
    data = chz.replace(base.data, **options.pop("data", {}))
    shaped = chz.replace(base.model, **options.pop("of_model", {}))
    optimizer = options.pop("optimizer", base.optimizer)
    train = chz.replace(base, accumulate=accumulate, data=data, model=shaped, optimizer=optimizer)
    return plan_search.Config(model=model, topology=topology, train=train, **options)


def choices(config: plan_search.Config) -> list[plan_search.Choice]:
    return list(plan_search.choices(config, planning.shape_of(config.model), parse(config.topology)))


def test_only_what_divides_and_could_fit_is_tried():
    config = wanted("v5e:4x4")
    found = choices(config)
    assert found
    for choice in found:
        assert math.prod(choice.sizes.values()) == 16
        assert choice.floor <= parse("v5e:4x4").chip.hbm
    # 8.2 billion weights of 16 bytes (weight, two moments, gradient) do not go into 4 chips of 15.75 GiB.
    assert not choices(wanted("v5e:2x2"))
    with pytest.raises(ConfigError, match="weights and optimiser alone exceed its memory"):
        plan_search.search(wanted("v5e:2x2"))


@pytest.mark.parametrize("accumulate", [1, 3, 16])
def test_rows_of_every_choice_divide_into_parts_and_these_over_its_devices(accumulate):
    found = choices(wanted(accumulate=accumulate))
    assert found
    assert all(choice.rows % (accumulate * row_parts(choice.sizes)) == 0 for choice in found)
    assert {choice.rows // accumulate // row_parts(choice.sizes) for choice in found} <= {1, 2, 4, 8}


def test_meshes_are_those_over_which_every_weight_divides():
    odd = dataclasses.replace(TINY, vocab_size=255)
    assert {sizes["tensor"] for sizes in plan_search.meshes(TINY, parse("v5e:2x4"), 4096)} == {1, 2}
    assert {sizes["tensor"] for sizes in plan_search.meshes(odd, parse("v5e:2x4"), 4096)} == {1}
    found = list(plan_search.meshes(EXPERTS, parse("v5e:2x4"), 4096))
    assert {(sizes["tensor"], sizes["expert"]) for sizes in found} >= {(1, 8), (2, 4)}
    # The width of an expert, 12, divides by 4, the heads of keys by 2 alone.
    assert max(sizes["tensor"] for sizes in found) == 2
    assert all(sizes["context"] == 1 for sizes in plan_search.meshes(TINY, parse("v5e:2x4"), 1000))


def test_where_nothing_divides_that_is_said_and_not_the_memory():
    shape = dataclasses.replace(TINY, hidden_size=63)
    with pytest.raises(ConfigError, match="divide over no mesh of its 8 devices; take a smaller slice"):
        list(plan_search.choices(wanted("v5e:2x4"), shape, parse("v5e:2x4")))


def floor(shape: TrunkConfig, config: plan_search.Config, **sizes: int) -> float:
    return Floor.of(config.train, shape, config.step).bytes(config.train, ONE | sizes)


def test_the_floor_of_a_large_model_with_adapters_leaves_out_moments_and_gradients_of_the_weights():
    """7.6 billion weights over four devices: 16 bytes of each are 28.4 GiB; of the weights alone, 7.1."""
    shape = planning.shape_of("Qwen2.5-7B")
    data = {"rows": 4}
    full, lora = (wanted(data=data, of_model={"lora": LoraConfig(rank=rank), "remat": "full"}) for rank in (0, 16))
    # One row's layer inputs: 28 layers x 4,096 tokens x 3,584 x 2 bytes are 0.77 GiB.
    assert floor(shape, full, fsdp=4) / GIB == pytest.approx(28.4 + 0.77, abs=0.05)
    # 40 million values of adapters take 0.6 GiB in all, and are cut only in part.
    adapters = 16 * adapter_count(shape, 0, LoraConfig(rank=16)) / GIB
    assert adapters == pytest.approx(0.6, abs=0.01)
    assert 7.1 + 0.77 + adapters / 4 < floor(shape, lora, fsdp=4) / GIB < 7.1 + 0.77 + adapters


@pytest.mark.parametrize(
    "changes",
    [
        {"of_model": {"frozen_layers": 3}},
        {"of_model": {"lora": LoraConfig(rank=4)}},
        {"optimizer": OptimizerConfig(first_moment="bfloat16")},
        {"optimizer": OptimizerConfig(second_moment="factored")},
        {"accumulate": 4},
        {"step": "score"},
    ],
)
def test_what_needs_less_has_a_lower_floor(changes):
    base = {"data": {"rows": 8, "row_length": 512}}
    wide = dataclasses.replace(TINY, vocab_size=1024, hidden_size=256, intermediate_size=512, head_dim=64)
    assert floor(wide, wanted(**base | changes), fsdp=2) < 0.95 * floor(wide, wanted(**base), fsdp=2)


VARIANTS = {
    "as it stands": {},
    "adapters on attention": {"of_model": {"lora": LoraConfig(rank=4, targets="attention"), "remat": "none"}},
    "in parts, small moments": {
        "accumulate": 2,
        "optimizer": OptimizerConfig(first_moment="bfloat16", second_moment="factored"),
        "of_model": {"remat": "attention"},
    },
    "frozen layers": {"of_model": {"frozen_layers": 2, "remat": "none"}},
    "experts": {"of_model": {"remat": "none"}},
    "judging": {"step": "score", "accumulate": 2},
}


@pytest.mark.skipif(not has_libtpu(), reason="libtpu, the TPU's compiler, is not installed (extra `plan`)")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if number else []) for number, name in enumerate(VARIANTS)]
)
def test_the_compiler_needs_no_less_than_the_floor(monkeypatch, name):
    shape = EXPERTS if name == "experts" else TINY
    monkeypatch.setattr(planning, "shape_of", lambda model, layers: shape)
    config = wanted("v5e:2x2", data={"rows": 8, "row_length": 2048}, **VARIANTS[name])
    config = chz.replace(config, train=chz.replace(config.train, mesh=MeshConfig(fsdp=4)))
    total = planning.plan(config).answer["memory"]["total"]
    least = floor(shape, config, fsdp=4)
    assert 0.02 * total < least <= total


@pytest.mark.parametrize(
    ("frozen_layers", "lora"), [(0, LoraConfig(rank=4)), (2, LoraConfig(rank=3, targets="attention"))]
)
def test_adapters_are_counted_from_the_declarations(frozen_layers, lora):
    config = wanted(of_model={"frozen_layers": frozen_layers, "lora": lora}).train
    for shape in (TINY, EXPERTS):
        assert adapter_count(shape, frozen_layers, lora) == adapter_values(AbstractRun.of(config, shape).params) > 0
        assert adapter_count(shape, frozen_layers, LoraConfig()) == 0


def compiled(monkeypatch, fits, refuse=lambda some: None) -> list[planning.Config]:
    """Stand in for the compiler: `fits` of a config, after `refuse` may raise. Gives the configs it was asked for."""
    asked = []

    def plan(some: planning.Config) -> planning.Plan:
        asked.append(some)
        refuse(some)
        where, shape = parse(some.topology, some.num_slices), planning.shape_of(some.model)
        known = fits(some)
        # A formula of the test's own: what was ranked first is not the fastest.
        estimate = planning.estimated(some, where, shape, (len(asked) * 7) % 5 * 10**11, 0)
        memory = None if known is None else {"fits": known, "total": None, "parameters": 1, "optimizer": 1}
        memory = memory and memory | {"activations": None}
        answer = {"memory": memory, "collectives": [], "gathered_outside": [], "mesh": {}, "kernels": [], "seconds": 1}
        return planning.Plan(where, shape, answer | {"cpu_seconds": 1}, estimate)

    monkeypatch.setattr(planning, "plan", plan)
    return asked


def test_the_fastest_of_those_that_fit_is_kept(monkeypatch):
    speeds = {}

    def fits(some) -> bool:
        return some.train.model.remat != "none"

    asked = compiled(monkeypatch, fits)
    said = []
    config = wanted(tries=20)
    found = plan_search.search(config, said.append)
    assert len(found.tried) == len(asked) == len(said) == 20
    assert any(line.startswith("does not fit") for line in said)
    for line in said:
        if line.startswith("fits, at most "):
            speeds[line.partition(": ")[2]] = float(line.split()[3].replace(",", ""))
    assert len(set(speeds.values())) >= 3
    choice, made = found.best
    assert choice.remat != "none"
    assert speeds[str(choice)] == max(speeds.values()) == pytest.approx(made.estimate.tokens_per_second, abs=0.5)
    assert next(iter(speeds)) != str(choice), "the first that fits is not the fastest here"


def test_what_needs_more_than_a_refused_choice_on_the_same_mesh_is_not_compiled(monkeypatch):
    compiled(monkeypatch, lambda some: False)
    found = plan_search.search(wanted(tries=200), lambda line: None)
    for earlier, later in itertools.combinations(found.tried, 2):
        assert later.sizes != earlier.sizes or later.rows < earlier.rows or not plan_search.heavier(later, earlier)


def test_a_choice_that_cannot_be_compiled_is_told_and_the_next_is_tried(monkeypatch, capsys):
    def refuse(some) -> None:
        if some.train.model.remat == "none":
            raise ConfigError("the compiler's process ended with code 1: fault")

    asked = compiled(monkeypatch, lambda some: True, refuse)
    assert main(["plan", "search", "model=Qwen3-8B", "topology=v6e:4x4", "tries=12", "train.accumulate=3"]) == 0
    out = capsys.readouterr().out
    assert "cannot be compiled: train.mesh." in out
    assert "train.model.remat=none: the compiler's process ended with code 1: fault" in out
    assert len(asked) == 12
    assert all(some.train.data.rows % 3 == 0 for some in asked)


def test_where_no_choice_can_be_compiled_the_reason_of_the_first_is_told(monkeypatch, capsys):
    def refuse(some) -> None:
        raise ConfigError("the compiler's process ended with code 1: fault")

    compiled(monkeypatch, lambda some: True, refuse)
    assert main(["plan", "search", "model=Qwen3-8B", "topology=v6e:4x4", "tries=2"]) == 2
    assert "none of 2 variants could be compiled; the first: the compiler's process" in capsys.readouterr().err


def test_without_libtpu_nothing_is_said_to_fit(monkeypatch, capsys):
    compiled(monkeypatch, lambda some: None)
    assert main(["plan", "search", "model=Qwen3-8B", "topology=v6e:4x4", "tries=3"]) == 0
    out = capsys.readouterr().out
    assert out.count("memory not known, at most ") == 3
    assert "fastest of 3 compiled, whose memory is not known: train." in out
    assert "fits" not in out
    assert "best" not in out


def test_where_none_of_the_tries_fits_more_are_advised_while_any_is_left(monkeypatch, capsys):
    compiled(monkeypatch, lambda some: False)
    words = ["plan", "search", "model=Qwen3-8B", "topology=v6e:4x4"]
    assert main([*words, "tries=2"]) == planning.DOES_NOT_FIT
    last = capsys.readouterr().out.splitlines()[-1]
    assert "none of the 2 variants compiled fits; the leanest was train.mesh." in last
    more = int(last.partition("give tries=")[2].partition(",")[0])
    assert main([*words, f"tries={more}"]) == planning.DOES_NOT_FIT
    assert capsys.readouterr().out.splitlines()[-1].endswith("; take a larger slice")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("tries=0", "tries=0: expected a positive whole number; the nearest that works is 1"),
        ("tries=-1", "tries=-1: expected a positive whole number"),
        ("train.accumulate=0", "accumulate=0: expected a positive whole number"),
        ("train.model.frozen_layers=40", "the model has 36 layers; the nearest that works is model.frozen_layers=36"),
    ],
)
def test_what_no_choice_can_mend_is_refused_before_any_is_compiled(monkeypatch, capsys, word, says):
    asked = compiled(monkeypatch, lambda some: True)
    assert main(["plan", "search", "model=Qwen3-8B", "topology=v6e:4x4", word]) == 2
    assert says in capsys.readouterr().err
    assert asked == []


def test_a_choice_on_one_chip_is_told_by_words_that_can_be_given():
    assert str(plan_search.Choice(ONE, 2, "full")) == "train.data.rows=2 train.model.remat=full"
    assert str(plan_search.Choice(ONE | {"fsdp": 4, "tensor": 2}, 4, "none")) == (
        "train.mesh.fsdp=4 train.mesh.tensor=2 train.data.rows=4 train.model.remat=none"
    )


def test_a_step_in_parts_gathers_its_weights_for_each():
    shape, sizes = planning.shape_of("Qwen3-8B"), ONE | {"data": 2, "fsdp": 8}
    one, four = (plan_search.bytes_sent(wanted(accumulate=parts, data={"rows": 64}), shape, sizes) for parts in (1, 4))
    assert four == pytest.approx((4 * one[0], 4 * one[1]), rel=1e-6)
    alone = plan_search.bytes_sent(wanted(data={"rows": 64}), shape, ONE | {"fsdp": 8})
    assert alone == (one[0], 0), "copies of the model meet between slices alone"
