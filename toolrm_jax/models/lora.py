"""Low-rank adapters (LoRA, Hu et al. 2021): small trained matrices beside the layers' linear weights.

A weight W [in..., out...] gets A [in..., rank] and B [rank, out...], stacked over layers as W is, and the layer
computes x·W + scale · (x·A)·B. B starts as zeros, so that the model starts as its backbone.

Why not qwix: it finds weights by the modules whose `__call__` it intercepts, and makes A and B there on the first call.
Our layers are made anew inside a scan, one for all, so what is made in a call is lost with it. What is left of it is
this file and `Layer.linear`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import chz
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import Path
from toolrm_jax.models.folder import with_values
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.layers import Layer, layer_weights
from toolrm_jax.models.weights import Weight

ATTENTION = ("q", "k", "v", "o")


@chz.chz
class LoraConfig:
    """Which adapters are trained in place of the weights; the scalar head is trained whole beside them."""

    rank: int = 0  # 0: none, the weights themselves are trained
    alpha: float = 32.0  # B·A counts alpha / rank times
    targets: Literal["all", "attention"] = "all"  # linear weights of a layer; experts and their router get none

    def check(self) -> None:
        """Raises ConfigError for values that make no adapter."""
        if self.rank < 0:
            raise ConfigError(f"model.lora.rank={self.rank}: expected 0 (no adapters) or more")
        if not self.alpha > 0:
            raise ConfigError(f"model.lora.alpha={self.alpha}: expected more than 0")


def adapter_weights(weights: Mapping[str, Weight], lora: LoraConfig) -> dict[str, Weight]:
    """The declarations of a layer's adapters, from those of its weights; published names are PEFT's."""
    found = {}
    for name, weight in weights.items():
        if not weight.linear or weight.experts or "router" in weight.axes:
            continue
        if lora.targets == "attention" and name not in ATTENTION:
            continue
        inputs, module = weight.inputs, weight.huggingface.removesuffix(".weight")
        found[f"{name}_lora_a"] = Weight(
            (*weight.shape[:inputs], lora.rank),
            (*weight.axes[:inputs], "rank"),
            f"{module}.lora_A.weight",
            linear=True,
            inputs=inputs,
        )
        found[f"{name}_lora_b"] = Weight(
            (lora.rank, *weight.shape[inputs:]),
            ("rank", *weight.axes[inputs:]),
            f"{module}.lora_B.weight",
            "zeros",
            linear=True,
        )
    return found


def has_adapters(model: RewardModel) -> bool:
    """Whether a RewardModel has adapters."""
    return any(hasattr(stack, "adapter_scale") for stack in model.trunk.stacks)


def is_adapter(path: Path) -> bool:
    """Whether a parameter's path is that of an adapter."""
    return str(path[-1]).endswith(("_lora_a", "_lora_b"))


def adapter_values(state: nnx.State) -> int:
    """How many values the adapters of a state have."""
    return sum(variable.get_value().size for path, variable in nnx.to_flat_state(state) if is_adapter(path))


def adapter_count(config: TrunkConfig, frozen_layers: int, lora: LoraConfig) -> int:
    """How many values the adapters of a model of that shape will have; 0 where `lora.rank` is 0."""
    layers = config.num_hidden_layers - frozen_layers
    return layers * sum(weight.size for weight in adapter_weights(layer_weights(config), lora).values())


def with_adapters(model: RewardModel, lora: LoraConfig, seed: int = 0) -> RewardModel:
    """The model with fresh adapters in its layers, above the frozen ones; as it was where `lora.rank` is 0.

    Raises ConfigError where no weight is a target.
    """
    lora.check()
    if not lora.rank:
        return model
    rngs, declared = nnx.Rngs(seed), adapter_weights(layer_weights(model.config), lora)
    for stack in _trained_stacks(model):
        (layers, _) = stack.attention_norm.shape
        for name, weight in declared.items():
            value = weight.initial(rngs.params(), (layers,))
            setattr(stack, name, nnx.Param(value, out_sharding=("layers", *weight.axes), eager_sharding=False))
        stack.adapter_scale = lora.alpha / lora.rank
    if not has_adapters(model):
        raise ConfigError("model.lora: every layer is frozen, so no adapter has a place; lower model.frozen_layers")
    return model


def merged(model: RewardModel) -> RewardModel:
    """A model without adapters that computes the same: each is added to its weight in float32."""
    if not has_adapters(model):
        return model
    values = {path: variable.get_value() for path, variable in nnx.to_flat_state(nnx.split(model)[1])}
    for path in [path for path in values if is_adapter(path)]:
        if not path[-1].endswith("_lora_a"):
            continue
        whole = (*path[:-1], path[-1].removesuffix("_lora_a"))
        a, b = values.pop(path), values.pop((*whole[:-1], f"{whole[-1]}_lora_b"))
        values[whole] = _added(values[whole], a, b, model.trunk.stacks[path[2]].adapter_scale)
    return with_values(model.config, model.trunk.frozen_layers, values)


def _added(weight: Array, a: Array, b: Array, scale: float) -> Array:
    layers, rank = a.shape[0], a.shape[-1]
    a, b = (value.astype(jnp.float32) for value in (a.reshape(layers, -1, rank), b.reshape(layers, rank, -1)))
    change = jnp.einsum("lir,lro->lio", a, b, precision=jax.lax.Precision.HIGHEST)
    return weight + scale * change.reshape(weight.shape)


def _trained_stacks(model: RewardModel) -> list[Layer]:
    return list(model.trunk.stacks)[1 if model.trunk.frozen_layers else 0 :]
