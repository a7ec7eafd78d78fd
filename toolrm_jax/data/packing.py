"""Which groups share a row: first-fit-decreasing within a window, deterministic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pack(sizes: Sequence[int], answers: Sequence[int], length: int, slots: int) -> list[list[int]]:
    """Split items 0..n-1 into rows of at most `length` tokens and `slots` answers.

    Larger items are placed first, each into the first row with room (ties by index). Every item must fit alone.
    """
    rows: list[list[int]] = []
    room: list[list[int]] = []
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        for row, left in zip(rows, room):
            if left[0] >= sizes[item] and left[1] >= answers[item]:
                row.append(item)
                left[0] -= sizes[item]
                left[1] -= answers[item]
                break
        else:
            assert sizes[item] <= length, item
            assert answers[item] <= slots, item
            rows.append([item])
            room.append([length - sizes[item], slots - answers[item]])
    return rows


def plan(
    sizes: np.ndarray, answers: np.ndarray, length: int, slots: int, window: int, seed: int
) -> list[tuple[int, ...]]:
    """The rows of one epoch: items shuffled, packed window by window, and the rows shuffled.

    The same arguments give the same plan, whatever reads it. Packing puts large items together, so the rows are
    shuffled again: a step must not be of long contexts alone.
    """
    random = np.random.Generator(np.random.Philox(seed))
    order = random.permutation(len(sizes))
    rows = []
    for start in range(0, len(order), window):
        items = order[start : start + window]
        packed = pack(sizes[items].tolist(), answers[items].tolist(), length, slots)
        rows += [tuple(int(items[i]) for i in row) for row in packed]
    return [rows[i] for i in random.permutation(len(rows))]
