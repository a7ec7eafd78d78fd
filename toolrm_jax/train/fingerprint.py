"""A sum over the bits of arrays that any change of a value, or of two values' places, changes.

Whole-number sums are exact in any order: so it is the same on every mesh, and takes no more than reading the values
once where they lie.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_BITS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def fingerprint(arrays: Any) -> dict[str, int]:
    """By the dotted name of every array of a tree: the sum of its values' bits times (2 x place + 1), modulo 2^32."""
    flat = jax.tree.leaves_with_path(arrays)
    sums = jax.device_get(_sums([leaf for _, leaf in flat]))
    names = (".".join(str(getattr(key, "key", key)) for key in path) for path, _ in flat)
    return {name: int(value) for name, value in zip(names, sums)}


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([_sum(leaf) for leaf in leaves])


def _sum(leaf: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(leaf, _BITS[leaf.dtype.itemsize]).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, stride in enumerate(np.cumprod([1, *leaf.shape[:0:-1]])[::-1] if leaf.ndim else []):
        place += jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis) * np.uint32(int(stride) % 2**32)
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)
