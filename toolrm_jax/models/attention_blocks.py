"""Which blocks of keys a block of queries sees: what the kernels skip by, from each token's `last` alone.

Shape letters: B rows, Q queries and S keys (a shard's queries may be fewer than its keys), I and J blocks of them.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int

from toolrm_jax.errors import ModelError

# A step of a work list in one int32: row, block of queries, block of keys, and three flags.
ROW, QUERY, KEY = 21, 12, 3
MOST_ROWS = 1 << (31 - ROW)
MOST_BLOCKS = 1 << (ROW - QUERY)
FIRST, LAST, WHOLE = 1, 2, 4

Seen = Int[Array, "B S"]
"""Of each key the index of the last query that sees it (`Visible.last`)."""


@struct.dataclass
class Work:
    """The pairs of blocks to compute, as steps sorted by row and then by the block that is accumulated into.

    `steps` holds every pair that causality leaves, of which the first `count` are to be done. A step's flags say
    that it is the FIRST or LAST of its block, and that it is seen WHOLE, so that it needs no mask.
    """

    steps: Int[Array, " L"]
    count: Int[Array, ""]


@dataclasses.dataclass(frozen=True, slots=True)
class Blocks:
    """Sizes of the blocks of queries and of keys."""

    query: int
    key: int


def block_map(
    last: Seen, queries: int, start: Int[Array, ""] | int, blocks: Blocks
) -> tuple[Bool[Array, "B I J"], Bool[Array, "B I J"]]:
    """Whether a block of queries sees anything of a block of keys, and whether all of it; both exact.

    `last` is of the keys; `start` is the index of the first of the queries among them, a multiple of both blocks.
    """
    of_keys = last.reshape(last.shape[0], 1, -1, blocks.key)
    first_i = start + jnp.arange(queries // blocks.query)[:, None] * blocks.query
    first_j = jnp.arange(of_keys.shape[2]) * blocks.key
    last_i, last_j = first_i + blocks.query - 1, first_j + blocks.key - 1
    some = (first_j <= last_i) & (first_i <= of_keys.max(axis=-1))
    return some, (last_j <= first_i) & (last_i <= of_keys.min(axis=-1))


def visits(some: Bool[Array, "B X Y"]) -> tuple[Int[Array, "B X Y"], Int[Array, "B X"]]:
    """For each block X the blocks Y to visit, in order and first in the list, and how many they are."""
    return jnp.argsort(~some, axis=-1, stable=True).astype(jnp.int32), jnp.sum(some, axis=-1, dtype=jnp.int32)


def work_by_query(some: Bool[Array, "B I J"], whole: Bool[Array, "B I J"]) -> Work:
    """Steps for results per query (outputs and their gradients): row, block of queries, block of keys."""
    return _work(some, whole, query_axis=1)


def work_by_key(some: Bool[Array, "B I J"], whole: Bool[Array, "B I J"]) -> Work:
    """Steps for results per key: row, block of keys, block of queries.

    Keys that no query sees (on another shard they are seen) get a step too, which leaves zeros.
    """
    last = jnp.arange(some.shape[1])[:, None] == some.shape[1] - 1
    some = some | (~some.any(axis=1, keepdims=True) & last)
    return _work(some.swapaxes(1, 2), whole.swapaxes(1, 2), query_axis=2)


def _work(some: Bool[Array, "B X Y"], whole: Bool[Array, "B X Y"], query_axis: int) -> Work:
    rows, outer, inner = some.shape
    if rows > MOST_ROWS:
        raise ModelError(f"{rows} rows on one device are too many for the kernels, which take up to {MOST_ROWS}")
    if max(outer, inner) > MOST_BLOCKS:
        raise ModelError(f"a row of {max(outer, inner)} blocks is too long for the kernels, which take {MOST_BLOCKS}")
    before = jnp.cumsum(some, axis=2)
    flags = FIRST * (before == 1) + LAST * (before == before[:, :, -1:]) + WHOLE * whole
    row, x, y = (jax.lax.broadcasted_iota(jnp.int32, some.shape, axis) for axis in range(3))
    query, key = (x, y) if query_axis == 1 else (y, x)
    steps = (row << ROW | query << QUERY | key << KEY | flags).reshape(-1)
    chosen = jnp.nonzero(some.reshape(-1), size=rows * outer * inner, fill_value=0)[0]
    return Work(steps[chosen], jnp.sum(some, dtype=jnp.int32))


def unpack(step: Int[Array, ""]) -> tuple[Array, Array, Array, Array]:
    """Row, block of queries, block of keys and flags of a step."""
    nine = (1 << (ROW - QUERY)) - 1
    return step >> ROW, (step >> QUERY) & nine, (step >> KEY) & nine, step & 7
