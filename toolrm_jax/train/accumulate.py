"""A step's rows computed in parts, one after the other: less memory for the same sums.

Loss and gradients of the parts are added, never averaged: what they are divided by is counted over the whole step
before (`loss.Counts`). Averaging means of parts instead weighs a group more where its part holds fewer. One part of the
loss is no sum, the balance of a mixture's experts: it is that within each part (`moe.balance_loss`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from toolrm_jax.data.rows import Rows
from toolrm_jax.train.layout import Layout


def in_parts(
    differentiate: Callable[[nnx.State, Rows], tuple[Any, nnx.State]],
    params: nnx.State,
    rows: Rows,
    parts: int,
    layout: Layout | None,
) -> tuple[Any, nnx.State]:
    """The sum of `differentiate(params, part) -> (values, gradients)` over `parts` equal parts of the rows.

    Gradients are added in float32, whatever the parameters' dtype. Every part has rows of every device.
    """
    if parts == 1:
        return differentiate(params, rows)

    def split(values: jax.Array) -> jax.Array:
        # Every parts-th row: so the rows of a device stay where they are.
        cut = values.reshape(-1, parts, *values.shape[1:]).swapaxes(0, 1)
        if layout is None:
            return cut
        return jax.lax.with_sharding_constraint(cut, layout.placed.sharding(None, "rows"))

    def laid(gradients: nnx.State) -> nnx.State:
        return gradients if layout is None else jax.lax.with_sharding_constraint(gradients, layout.state.params)

    def add(total: Any, part: Rows) -> tuple[Any, None]:
        values, gradients = differentiate(params, part)
        gradients = laid(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradients))
        return jax.tree.map(jnp.add, total, (values, gradients)), None

    cut = jax.tree.map(split, rows)
    values, _ = jax.eval_shape(differentiate, params, jax.tree.map(lambda leaf: leaf[0], cut))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), values)
    none = laid(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params))
    (values, gradients), _ = jax.lax.scan(add, (zeros, none), cut)
    return values, jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), gradients, params)
