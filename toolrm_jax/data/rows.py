"""Shared-prefix rows: several groups in one fixed-length row, each as `context | answer 1 | … | answer K`.

Shape letters: T tokens of a row, S answer slots of a row; a batch stacks B rows in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import struct

from toolrm_jax.data.tokens import TokenGroup


@struct.dataclass
class Rows:
    """One row, or a batch of them along a leading axis. Numpy on the host, JAX arrays on the device.

    tokens, positions: int32 [T]; a position counts within the token's own sequence.
    group: int32 [T], 1.. in order of appearance, 0 is padding.
    response: int32 [T], 0 is context, 1.. the answer it belongs to.
    previous: int32 [T], the index of the token before it in its own sequence (an answer's first: the context's last).
    still_right: int8 [T], of answer tokens: 1 while the answer so far could become a right one, else 0; -1 elsewhere,
    and where no answer of the group is right.
    score_at: int32 [S], the index of each answer's last token; slot_group: int32 [S], 0 where the slot is empty;
    slot_right: bool [S]; slot_score: float32 [S], the answer's rule score.
    pairs: bool [S, S], whether the answer of the first slot is to score above that of the second.
    """

    tokens: Any
    positions: Any
    group: Any
    response: Any
    previous: Any
    still_right: Any
    score_at: Any
    slot_group: Any
    slot_right: Any
    slot_score: Any
    pairs: Any


def lay_out(groups: Sequence[TokenGroup], length: int, slots: int) -> Rows:
    """Put groups into a row of `length` tokens and `slots` answers; both must suffice (packing sees to it)."""
    tokens, positions, group, response, previous = (np.zeros(length, np.int32) for _ in range(5))
    still_right = np.full(length, -1, np.int8)
    score_at, slot_group, slot_right = np.zeros(slots, np.int32), np.zeros(slots, np.int32), np.zeros(slots, bool)
    slot_score, pairs = np.zeros(slots, np.float32), np.zeros((slots, slots), bool)
    at = slot = 0
    for number, one in enumerate(groups, start=1):
        n = len(one.context)
        span = slice(at, at + n)
        tokens[span], positions[span], group[span] = one.context, np.arange(n), number
        previous[span] = np.maximum(np.arange(at - 1, at + n - 1), at)
        last, at = at + n - 1, at + n
        slot_score[slot : slot + len(one.scores)] = one.scores
        own = slice(slot, slot + len(one.responses))
        pairs[own, own] = one.better_than()
        known = any(one.right)
        for index, (answer, right, until) in enumerate(zip(one.responses, one.right, one.right_until()), start=1):
            m = len(answer)
            span = slice(at, at + m)
            tokens[span], positions[span] = answer, np.arange(n, n + m)
            group[span], response[span] = number, index
            previous[span] = np.arange(at - 1, at + m - 1)
            previous[at] = last
            if known:
                still_right[span] = np.arange(m) < until
            at += m
            score_at[slot], slot_group[slot], slot_right[slot] = at - 1, number, right
            slot += 1
    of_tokens = tokens, positions, group, response, previous, still_right
    return Rows(*of_tokens, score_at, slot_group, slot_right, slot_score, pairs)


def stack(rows: Sequence[Rows]) -> Rows:
    """A batch of rows: every field gains a leading axis."""
    return Rows(*(np.stack(parts) for parts in zip(*(row_fields(row) for row in rows))))


def row_fields(row: Rows) -> tuple[np.ndarray, ...]:
    """The arrays of a row in the order of its fields."""
    return tuple(getattr(row, name) for name in Rows.__dataclass_fields__)
