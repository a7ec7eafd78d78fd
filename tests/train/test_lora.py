"""Adapters: they alone change, start as nothing, and merge into weights that compute the same."""

from __future__ import annotations

import functools
import os
import signal

import chz
import jax
import numpy as np
import pytest
from flax import nnx

from tests.train.test_loop import SHAPE, config, groups, kept
from toolrm_jax.converters.huggingface import model_tensors
from toolrm_jax.converters.lora import merged as merged_tensors
from toolrm_jax.converters.lora import model_loras
from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import declarations, flops_per_token
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import (
    LoraConfig,
    adapter_values,
    has_adapters,
    is_adapter,
    merged,
    with_adapters,
)
from toolrm_jax.train import loop
from toolrm_jax.train.loop import train
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.step import split

LORA = LoraConfig(rank=3, alpha=6.0)


def adapted(lora: LoraConfig = LORA, frozen_layers: int = 0) -> RewardModel:
    fresh = RewardModel(SHAPE, frozen_layers=frozen_layers, rngs=nnx.Rngs(7))
    fresh.score[...] = jax.random.normal(jax.random.key(1), fresh.score.shape)
    return with_adapters(fresh, lora, seed=3)


def moved(one: RewardModel) -> RewardModel:
    """The same with adapters that change something: B is zeros at first."""
    for path, variable in nnx.to_flat_state(nnx.state(one)):
        if is_adapter(path):
            key = jax.random.key(sum(map(ord, path[-1])))
            variable.set_value(0.3 * jax.random.normal(key, variable.get_value().shape))
    return one


@functools.partial(jax.jit, static_argnums=0)
def scored(graph, state, rows):
    return nnx.merge(graph, state)(rows.tokens, rows.positions, Visible.of(rows.group, rows.response))[1]


def rewards(one: RewardModel) -> np.ndarray:
    return np.asarray(scored(*nnx.split(one), stack([lay_out(groups(4), 48, 16)])))


def values(one: RewardModel) -> dict[tuple, np.ndarray]:
    return {path: np.asarray(variable.get_value()) for path, variable in nnx.to_flat_state(nnx.split(one)[1])}


def test_fresh_adapters_change_nothing_and_there_is_one_for_each_linear_weight_of_the_layers():
    one = adapted()
    plain = RewardModel(SHAPE, rngs=nnx.Rngs(7))
    plain.score[...] = one.score[...]
    np.testing.assert_allclose(rewards(one), rewards(plain), rtol=1e-5, atol=1e-5)
    assert not any(value.any() for path, value in values(one).items() if path[-1].endswith("_lora_b"))
    found = {path[-1].removesuffix("_lora_a") for path in values(one) if path[-1].endswith("_lora_a")}
    linear = {path[-1] for path, (weight, layers) in declarations(SHAPE).items() if weight.linear and layers}
    assert found == linear == {"q", "k", "v", "o", "gate", "up", "down"}
    some = {path[-1] for path in values(adapted(chz.replace(LORA, targets="attention"))) if is_adapter(path)}
    assert some == {f"{name}_lora_{side}" for name in "qkvo" for side in "ab"}
    assert not has_adapters(adapted(LoraConfig()))


def test_merged_weights_score_as_weight_and_adapter_do():
    one = moved(adapted(frozen_layers=1))
    plain = RewardModel(SHAPE, frozen_layers=1, rngs=nnx.Rngs(7))
    plain.score[...] = one.score[...]
    together = merged(one)
    assert not has_adapters(together)
    assert np.abs(rewards(one) - rewards(plain)).max() > 0.05, "the adapters do something"
    np.testing.assert_allclose(rewards(together), rewards(one), rtol=1e-5, atol=1e-5)
    assert merged(plain) is plain


def test_merging_is_that_of_the_published_layout():
    """converters/lora.py adds alpha / rank · B · A to the tensors that PEFT and transformers know."""
    one = moved(adapted())
    plain = RewardModel(SHAPE, rngs=nnx.Rngs(7))
    plain.score[...] = one.score[...]
    loras = model_loras(one)
    assert (loras.rank, loras.alpha, len(loras.adapters)) == (3, 6.0, 7 * SHAPE.num_hidden_layers)
    expected = {tensor.name: tensor.make() for tensor in merged_tensors(model_tensors(plain, "reward"), loras)}
    found = {tensor.name: tensor.make() for tensor in model_tensors(merged(one), "reward")}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_only_adapters_and_the_head_are_trained_and_a_resumed_run_ends_the_same(tmp_path, monkeypatch):
    run = config(tmp_path / "whole", model=chz.replace(config(tmp_path).model, frozen_layers=0, lora=LORA))
    run = chz.replace(run, data=chz.replace(run.data, epochs=6))
    before, after = adapted(), adapted()
    assert train(run, after, groups(60), groups(80)[60:])
    held_out = [record["correct"] for record in read_metrics(tmp_path / "whole") if record["kind"] == "held_out"]
    assert held_out[-1] > max(0.8, held_out[0])
    start = values(before)
    for path, value in values(after).items():
        trained = is_adapter(path) or path == ("score",)
        assert np.array_equal(value, start[path]) != trained, path

    original = loop.StepRecorder.record

    def interrupted(self, step, *rest):
        original(self, step, *rest)
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    part = chz.replace(run, output=str(tmp_path / "parts"))
    with monkeypatch.context() as patched:
        patched.setattr(loop.StepRecorder, "record", interrupted)
        assert train(part, adapted(), groups(60), groups(80)[60:]) is False
    again = adapted()
    assert train(part, again, groups(60), groups(80)[60:])
    for path, value in values(again).items():
        np.testing.assert_array_equal(value, values(after)[path], err_msg=str(path))
    assert kept(tmp_path / "whole") == kept(tmp_path / "parts")


def test_what_makes_no_adapter_is_refused():
    with pytest.raises(ConfigError, match=r"model\.lora\.rank=-1"):
        adapted(LoraConfig(rank=-1))
    with pytest.raises(ConfigError, match=r"model\.lora\.alpha=0"):
        adapted(LoraConfig(rank=1, alpha=0.0))
    with pytest.raises(ConfigError, match="every layer is frozen"):
        adapted(frozen_layers=SHAPE.num_hidden_layers)


def test_experts_and_their_router_get_none():
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    moe = RewardModel(
        TrunkConfig("qwen3_moe", 32, 16, 24, 2, 2, 1, 8, 1e4, 1e-6, 128, True, **experts), rngs=nnx.Rngs(0)
    )
    assert {path[-1][0] for path in values(with_adapters(moe, LORA)) if is_adapter(path)} == set("qkvo")


def test_useful_operations_leave_out_the_gradients_of_weights_that_are_not_trained():
    _, params, _ = split(adapted())
    size = adapter_values(params)
    assert size == sum(value.size for path, value in values(adapted()).items() if is_adapter(path))
    full, some = (flops_per_token(SHAPE, 9.0, train=True, adapters=count) for count in (0, size))
    matrices = sum(w.size * len(layers) for w, layers in declarations(SHAPE).values() if w.linear and layers)
    assert some == full - 2 * matrices + 6 * size
