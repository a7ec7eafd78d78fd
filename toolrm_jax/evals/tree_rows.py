"""Which tree stands in which row of which batch, so that little is compiled, padded, or held at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice

import jax
import numpy as np

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.data.trees import Tree, TreeRows, lay_out_trees
from toolrm_jax.errors import DataError

# Of a row where there is enough to fill it: several groups fit, so little is padded. That it is long costs attention
# nothing: what is not seen is not computed.
ROW_TOKENS = 8192
SHORTEST_ROW = 512
SLOTS = 256
# Trees from which those of a batch are taken: smaller ones fill up what larger ones leave.
POOL = 512


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A tree in its row: answers of a group from `start` on, from that answer slot and answer token of the row on."""

    group: int
    start: int
    tree: Tree
    slot: int
    answer_tokens: int


def tree_batches(
    groups: Sequence[TokenGroup], longest: int, devices: int
) -> Iterator[tuple[list[list[Place]], TreeRows]]:
    """Batches of one row a device, and what stands in each row in order.

    longest: tokens of a context and an answer that the model reads. A group with very many answers is cut into trees
    that repeat the context. Rows have ROW_TOKENS tokens, fewer (a power of two) where fewer are left, more where a
    tree is longer. Raises DataError for a group whose context with one answer is longer than `longest`.
    """
    waiting = (piece for number, group in enumerate(groups) for piece in _pieces(number, group, longest))
    pool: list[Place] = []
    while True:
        pool += islice(waiting, POOL - len(pool))
        if not pool:
            return
        pool.sort(key=lambda piece: (-piece.tree.size, piece.group, piece.start))
        length = _row_length([piece.tree.size for piece in pool], devices)
        rows, pool = _fill(pool, length, devices)
        laid = [lay_out_trees([piece.tree for piece in row], length, SLOTS) for row in rows]
        yield rows, jax.tree.map(lambda *fields: np.stack(fields), *laid)


def power_of_two(size: int) -> int:
    """The least that holds `size`."""
    return 1 << (size - 1).bit_length()


def _row_length(sizes: Sequence[int], devices: int) -> int:
    share = power_of_two(max(-(-sum(sizes) // devices), SHORTEST_ROW))
    return max(min(share, ROW_TOKENS), power_of_two(max(sizes)))


def _fill(pieces: Sequence[Place], length: int, count: int) -> tuple[list[list[Place]], list[Place]]:
    """So many rows, each piece in the first that has room for it; and the pieces for which none has."""
    rows: list[list[Place]] = [[] for _ in range(count)]
    used = [(0, 0, 0)] * count
    left = []
    for piece in pieces:
        size, answers = piece.tree.size, len(piece.tree.paths)
        for row, (tokens, slots, answer_tokens) in enumerate(used):
            if tokens + size <= length and slots + answers <= SLOTS:
                rows[row].append(dataclasses.replace(piece, slot=slots, answer_tokens=answer_tokens))
                used[row] = tokens + size, slots + answers, answer_tokens + size - piece.tree.context
                break
        else:
            left.append(piece)
    return rows, left


def _pieces(number: int, group: TokenGroup, longest: int) -> Iterator[Place]:
    """The group as trees of at most SLOTS answers, and of `longest` tokens were nothing shared; not yet in a row."""
    start = 0
    while start < len(group.responses):
        size, stop = len(group.context), start
        while stop < len(group.responses) and stop - start < SLOTS and size + len(group.responses[stop]) <= longest:
            size += len(group.responses[stop])
            stop += 1
        if stop == start:
            raise DataError(
                f"group {group.id}: context and answer have {size + len(group.responses[start])} tokens, "
                f"the model reads at most {longest}; shorten the context"
            )
        yield Place(number, start, Tree.of(group.context, group.responses[start:stop]), 0, 0)
        start = stop
