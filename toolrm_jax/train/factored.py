"""Adam with a factored second moment: of a matrix only the means of its rows and of its columns are kept.

Shazeer & Stern 2018 (Adafactor), section 3: v is taken to be row x column / mean(row), which is exact where the squared
gradient has rank one. All else is Adam's: the first moment, both bias corrections, and v whole where a weight is small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

SMALLEST = 128
"""A weight is factored over its two largest axes where both are at least so long; over others it is kept whole."""
_TINY = 1e-30


class Factored(NamedTuple):
    """Adam's state. `row` and `column`: of each weight the mean of v over one of the two axes, which stays as one.

    A weight that is kept whole has all of v in `row`, and a single one in `column`.
    """

    count: jax.Array
    mu: Any
    row: Any
    column: Any


def scale_by_factored_adam(
    b1: float, b2: float, eps: float = 1e-8, mu_dtype: jnp.dtype | None = None
) -> optax.GradientTransformation:
    """The counterpart of `optax.scale_by_adam`; its state takes hardly more memory than the first moment."""

    def init(params: Any) -> Factored:
        row = lambda weight: jnp.zeros(_reduced(weight.shape, 1), jnp.float32)  # noqa: E731
        column = lambda weight: jnp.zeros(_reduced(weight.shape, 0), jnp.float32)  # noqa: E731
        mu = jax.tree.map(lambda weight: jnp.zeros(weight.shape, mu_dtype or weight.dtype), params)
        return Factored(jnp.zeros((), jnp.int32), mu, jax.tree.map(row, params), jax.tree.map(column, params))

    def update(updates: Any, state: Factored, params: Any = None) -> tuple[Any, Factored]:
        count = optax.safe_increment(state.count)
        corrections = 1 - b1**count, 1 - b2**count
        mu = jax.tree.map(lambda old, new: b1 * old + (1 - b1) * new, state.mu, updates)
        row, column = (
            jax.tree.map(lambda old, new: b2 * old + (1 - b2) * _mean(new, side), means, updates)  # noqa: B023
            for side, means in ((1, state.row), (0, state.column))
        )

        def scaled(gradient: jax.Array, m: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
            v = _whole(gradient.shape, row, column)
            return (m / corrections[0] / (jnp.sqrt(v / corrections[1]) + eps)).astype(gradient.dtype)

        new = jax.tree.map(scaled, updates, mu, row, column)
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype), mu, state.mu)
        return new, Factored(count, kept, row, column)

    return optax.GradientTransformation(init, update)


def _axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The two largest axes, in order; None for a weight that is kept whole."""
    if len(shape) < 2:
        return None
    first, second = sorted(sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2])
    return (first, second) if min(shape[first], shape[second]) >= SMALLEST else None


def _reduced(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """The shape of a weight's means over the first (0) or second (1) of its two axes."""
    axes = _axes(shape)
    if axes is None:
        return shape if side else (1,) * len(shape)
    return tuple(1 if axis == axes[side] else length for axis, length in enumerate(shape))


def _mean(gradient: jax.Array, side: int) -> jax.Array:
    square, axes = jnp.square(gradient.astype(jnp.float32)), _axes(gradient.shape)
    if axes is None:
        return square if side else jnp.ones((1,) * gradient.ndim)
    return jnp.mean(square, axis=axes[side], keepdims=True)


def _whole(shape: tuple[int, ...], row: jax.Array, column: jax.Array) -> jax.Array:
    """v of a weight of that shape, or what stands for it."""
    axes = _axes(shape)
    if axes is None:
        return row
    return row * column / jnp.maximum(jnp.mean(row, axis=axes[0], keepdims=True), _TINY)
