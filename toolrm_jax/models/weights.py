"""One declaration per weight: shape, logical axes, initialisation, Hugging Face name and layout, in one place.

A module declares its weights as a dict of `Weight`; parameter trees, reading and writing of Hugging Face folders,
freezing and parameter counts are derived from these declarations.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A weight of one layer (or of the whole model).

    `shape` and `axes` are ours; `huggingface` is the tensor's name there, with `{layer}` where it repeats.
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

    def __post_init__(self) -> None:
        assert len(self.shape) == len(self.axes), self

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def huggingface_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in a Hugging Face folder."""
        if self.linear:
            return (math.prod(self.shape[self.inputs :]), math.prod(self.shape[: self.inputs]))
        return (self.size,) if self.flat else self.shape

    def from_huggingface(self, tensor: np.ndarray) -> np.ndarray:
        """Our layout of a Hugging Face tensor."""
        return (tensor.T if self.linear else tensor).reshape(self.shape)

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
        scale = 0.02 if self.init == "embedding" else math.prod(self.shape[: self.inputs]) ** -0.5
        return scale * jax.random.normal(key, shape, jnp.float32)


class Declared(nnx.Module):
    """A module whose parameters are what it declares; `layers` > 0 stacks that many along a leading axis."""

    def __init__(self, weights: Mapping[str, Weight], *, layers: int = 0, rngs: nnx.Rngs) -> None:
        stack = (layers,) if layers else ()
        names = ("layers",) if layers else ()
        for name, weight in weights.items():
            value = weight.initial(rngs.params(), stack)
            setattr(self, name, nnx.Param(value, out_sharding=names + weight.axes, eager_sharding=False))
