"""One declaration per weight: shape, logical axes, initialisation, Hugging Face name and layout, in one place.

A module declares its weights as a dict of `Weight`; parameter trees, shardings, reading and writing of Hugging Face
folders, freezing, parameter counts and FLOPs are derived from these declarations.

Logical axes (what each may be divided over is for `toolrm_jax.parallel` to say):
    vocab     rows of the embedding and of the language-model head
    hidden    the width of the residual stream
    heads     query heads           kv_heads   key-value heads          head_dim   the width of a head, never divided
    mlp       the inner width of the gated MLP, of the whole one or of each expert's
    experts   experts of a layer: the axis along which their weights are dispatched
    router    experts as outputs of the router: every device needs all of them
    score     the scalar head's one output
    rank      the inner width of an adapter
    layers    the leading axis of a stack that a scan runs over; a declaration does not name it, its stack adds it
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

AXES = ("vocab", "hidden", "heads", "kv_heads", "head_dim", "mlp", "experts", "router", "score", "rank", "layers")


@dataclasses.dataclass(frozen=True, slots=True)
class Fused:
    """Where a weight also stands as one of `parts` equal parts of a larger tensor, along its axis `axis`."""

    huggingface: str
    part: int = 0
    parts: int = 1
    axis: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A weight of one layer (or of the whole model).

    `shape` and `axes` are ours; `huggingface` is the tensor's name there, with `{layer}` and `{expert}` where it
    repeats: a weight whose first axis is `experts` is a tensor per expert there, or, by newer names, a `fused` one.
    A `linear` weight is stored there as [out, in], with heads and head_dim as one axis, and here as [in..., out...]:
    `inputs` of its leading axes are inputs. A `flat` one (a bias per head) is stored there as one axis.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    huggingface: str
    init: Literal["fan_in", "embedding", "ones", "zeros"] = "fan_in"
    linear: bool = False
    inputs: int = 1
    flat: bool = False
    fused: Fused | None = None

    def __post_init__(self) -> None:
        assert len(self.shape) == len(self.axes), self
        assert set(self.axes) <= set(AXES), self

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def experts(self) -> int:
        """Number of experts that each have one such weight; 0 for a weight of no expert."""
        return self.shape[0] if self.axes[0] == "experts" else 0

    @property
    def one(self) -> Weight:
        """The weight as one expert has it; itself for a weight of no expert."""
        if not self.experts:
            return self
        return dataclasses.replace(self, shape=self.shape[1:], axes=self.axes[1:], fused=None)

    @property
    def huggingface_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in a Hugging Face folder (of one expert's)."""
        shape = self.one.shape
        if self.linear:
            return (math.prod(shape[self.inputs :]), math.prod(shape[: self.inputs]))
        return (math.prod(shape),) if self.flat else shape

    def from_huggingface(self, tensor: np.ndarray) -> np.ndarray:
        """Our layout of a Hugging Face tensor (of one expert's)."""
        return (tensor.T if self.linear else tensor).reshape(self.one.shape)

    def to_huggingface(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_huggingface`."""
        if not self.linear:
            return value.reshape(self.huggingface_shape)
        return np.ascontiguousarray(value.reshape(self.huggingface_shape[::-1]).T)

    def initial(self, key: jax.Array, layers: tuple[int, ...] = ()) -> jax.Array:
        """Fresh float32 values, stacked over `layers` where given."""
        shape = layers + self.shape
        if self.init in ("ones", "zeros"):
            return (jnp.ones if self.init == "ones" else jnp.zeros)(shape, jnp.float32)
        scale = 0.02 if self.init == "embedding" else math.prod(self.one.shape[: self.inputs]) ** -0.5
        return scale * jax.random.normal(key, shape, jnp.float32)


class Declared(nnx.Module):
    """A module whose parameters are what it declares; `layers` > 0 stacks that many along a leading axis."""

    def __init__(self, weights: Mapping[str, Weight], *, layers: int = 0, rngs: nnx.Rngs) -> None:
        stack = (layers,) if layers else ()
        names = ("layers",) if layers else ()
        for name, weight in weights.items():
            value = weight.initial(rngs.params(), stack)
            setattr(self, name, nnx.Param(value, out_sharding=names + weight.axes, eager_sharding=False))
