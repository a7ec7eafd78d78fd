"""Which blocks of keys a block of queries may see: what the kernels skip by, from the ids of each token alone.

Shape letters: B rows, Q queries and S keys (a shard's queries may be fewer than its keys), I and J blocks of them.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int

from toolrm_jax.errors import ModelError
from toolrm_jax.models.attention import Visible

# A code is group << BITS | response. Padding has codes of its own, one per token, above those of all groups: a row
# has fewer than 32,767 groups, each of a context and an answer at least.
BITS = 16
PADDING = 0x7FFF << BITS
LONGEST_ROW = 1 << BITS
# A step of a work list in one int32: row, block of queries, block of keys, and three flags.
ROW, QUERY, KEY = 21, 12, 3
MOST_ROWS = 1 << (31 - ROW)
FIRST, LAST, WHOLE = 1, 2, 4


@struct.dataclass
class Codes:
    """Two numbers per token: `own` names its (group, response), `context` the context of its group.

    Query q sees key k where k stands at or before q and own[k] is own[q] or context[q].
    """

    own: Int[Array, "B T"]
    context: Int[Array, "B T"]

    @classmethod
    def of(cls, visible: Visible) -> Codes:
        """int32 codes. Raises ModelError for rows too long for 16 bits of response and 15 of group."""
        length = visible.group.shape[1]
        if length > LONGEST_ROW:
            raise ModelError(f"a row of {length} tokens is too long for the kernels, which take up to {LONGEST_ROW}")
        padding = visible.group == 0
        alone = PADDING | jnp.arange(length, dtype=jnp.int32)
        group = visible.group.astype(jnp.int32) << BITS
        own, context = jnp.where(padding, alone, group | visible.response), jnp.where(padding, alone, group)
        return cls(own, context)


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
    query: Codes, key: Codes, start: Int[Array, ""] | int, blocks: Blocks
) -> tuple[Bool[Array, "B I J"], Bool[Array, "B I J"]]:
    """Whether a block of queries may see anything of a block of keys, and whether it is known to see all of it.

    The first never misses a visible pair, whatever the ids, since overlap of ranges is necessary for equality; for
    groups laid out in order it is exact but where one block holds several groups. The second never claims a pair that
    is not seen, and is exact for keys of one context or one answer. `start` is the index of the first query.
    """
    own, context = (_ranges(codes, blocks.query) for codes in (query.own, query.context))
    keys = _ranges(key.own, blocks.key)
    is_context = key.own == key.context
    low = _ranges(jnp.where(is_context, key.own, jnp.iinfo(jnp.int32).max), blocks.key)[0]
    high = _ranges(jnp.where(is_context, key.own, -1), blocks.key)[1]
    (first_i, last_i), (first_j, last_j) = (
        (at * size, at * size + size - 1)
        for at, size in ((jnp.arange(own[0].shape[1])[:, None], blocks.query), (jnp.arange(low.shape[1]), blocks.key))
    )
    some = (_overlap(own, keys) | _overlap(context, (low, high))) & (first_j <= last_i + start)
    one_code = (keys[0] == keys[1])[:, None, :]
    all_see = [_equal(codes, keys) for codes in (own, context)]
    return some, one_code & (all_see[0] | all_see[1]) & (last_j <= first_i + start)


def _ranges(codes: Int[Array, "B T"], size: int) -> tuple[Int[Array, "B I"], Int[Array, "B I"]]:
    blocked = codes.reshape(codes.shape[0], -1, size)
    return blocked.min(axis=-1), blocked.max(axis=-1)


def _overlap(a: tuple[Array, Array], b: tuple[Array, Array]) -> Bool[Array, "B I J"]:
    return (a[0][:, :, None] <= b[1][:, None, :]) & (b[0][:, None, :] <= a[1][:, :, None])


def _equal(a: tuple[Array, Array], b: tuple[Array, Array]) -> Bool[Array, "B I J"]:
    return (a[0][:, :, None] == b[0][:, None, :]) & (a[1][:, :, None] == b[0][:, None, :])


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
