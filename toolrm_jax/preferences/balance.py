"""Balanced multi-dimensional sampling of pairs (paper B, section 3.4; method.md section 4, items 13 to 17).

A cell is a source and a bin of preference intensity. Round after round each cell that has any left gives its most
complex pair, until there are enough: first at most one pair of a task and bin, then, once every cell is out of those,
the others. Since a round takes one from each cell, the rounds' outcome follows from how many pairs each cell has: those
counts are the quotas, and a second pass keeps each cell's best in a heap of that size. All heaps together hold as many
pairs as are asked for, however many there are.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.pairs import BINS, intensity_bin
from toolrm_jax.seeding import seeded

MAX_COMPLEXITY = 50  # pairs of a higher one are dropped; 50 itself is kept (method.md 4.15)
_MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """What balancing needs of a group. `key`: 64 bits of a hash of the seed and the task's id; `place`: where it is."""

    source: str
    key: int
    complexity: int
    scores: tuple[float, ...]
    place: int


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """One pair that was drawn: its group's place, the places of both candidates in it, and its cell."""

    place: int
    better: int
    worse: int
    source: str
    bin: int
    complexity: int
    tie: int


Cell = tuple[str, int]
"""Source and bin of intensity."""


def count_pairs(groups: Iterable[Scored]) -> tuple[Counter[Cell], Counter[Cell]]:
    """How many pairs each cell has: those that go first, one of a task and bin, and the others."""
    supply: tuple[Counter[Cell], Counter[Cell]] = (Counter(), Counter())
    for group in groups:
        for where, count in Counter(where for where, *_ in _pairs(group)).items():
            supply[0][group.source, where] += 1
            supply[1][group.source, where] += count - 1
    return supply


def balance(
    groups: Iterable[Scored], total: int, seed: int, supply: tuple[Counter[Cell], Counter[Cell]] | None = None
) -> list[Chosen]:
    """At most `total` pairs, by place, as the head of this module says.

    `supply`: what `count_pairs` says of the groups; without it `groups` is gone through twice. The same groups in any
    order give the same pairs.
    """
    if total < 1:
        raise ConfigError(f"pairs={total}: give at least 1")
    supply = supply or count_pairs(groups)
    first = quotas(supply[0], total, seed)
    later = quotas(supply[1], total - sum(first.values()), seed)
    wanted = {True: first, False: later}
    heaps: dict[tuple[bool, Cell], list] = {(kind, cell): [] for kind, some in wanted.items() for cell in some}
    for group in groups:
        best: dict[int, int] = {}
        drawn = [(where, mix(group.key ^ (b << 8 | w)), b, w) for where, b, w in _pairs(group)]
        for where, tie, _, _ in drawn:
            best[where] = min(tie, best.get(where, tie))
        for where, tie, better, worse in drawn:
            goes_first, cell = best[where] == tie, (group.source, where)
            if quota := wanted[goes_first].get(cell, 0):
                rank = (group.complexity, -tie, -group.place, better, worse, cell)
                _keep(heaps[goes_first, cell], quota, rank)
    chosen = [
        Chosen(-place, better, worse, *cell, complexity, -tie)
        for heap in heaps.values()
        for complexity, tie, place, better, worse, cell in heap
    ]
    return sorted(chosen, key=lambda pair: (pair.place, pair.better, pair.worse))


def _pairs(group: Scored) -> list[tuple[int, int, int]]:
    """Bin, better and worse of every pair that may be drawn."""
    if group.complexity > MAX_COMPLEXITY:
        return []
    scores = group.scores
    return [
        (intensity_bin(high, low), better, worse)
        for better, high in enumerate(scores)
        for worse, low in enumerate(scores)
        if high > low
    ]


def quotas(supply: Mapping[Cell, int], total: int, seed: int) -> dict[Cell, int]:
    """How many of each cell `total` rounds' draws take: one of each that has any left, round after round.

    What the last, broken round has to give goes to cells in a seeded order.
    """
    left = {cell: count for cell, count in supply.items() if count > 0}
    found = dict.fromkeys(left, 0)
    while left and total > 0:
        rounds = min(min(left.values()), total // len(left))
        if rounds == 0:
            order = sorted(left, key=lambda cell: seeded(seed, "last round", repr(cell)).random())
            for cell in order[:total]:
                found[cell] += 1
            break
        for cell in list(left):
            found[cell] += rounds
            left[cell] -= rounds
            total -= rounds
            if left[cell] == 0:
                del left[cell]
    return found


def swaps(pairs: Iterable[tuple[Hashable, str, int]]) -> set[Hashable]:
    """Which pairs (of name, source, tie) are shown with the worse answer first: half of all, and of each source.

    By tie, every other one of a source; odd ones are evened out from source to source (method.md 4.17).
    """
    order = sorted(pairs, key=lambda pair: (pair[1], pair[2]))
    return {name for name, _, _ in order[::2]}


def by_bin(counts: Mapping[Cell, int]) -> dict[str, dict[str, int]]:
    """Counts of cells as a table: per source, every bin of intensity by its edges."""
    names = [f"({b / BINS:.1f}, {(b + 1) / BINS:.1f}]" for b in range(BINS)]
    sources = sorted({source for source, _ in counts})
    return {source: {name: counts.get((source, b), 0) for b, name in enumerate(names)} for source in sources}


def mix(value: int) -> int:
    """64 bits that look random (splitmix64's last steps): ties that depend on ids alone, without a hash per pair."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def _keep(heap: list, quota: int, rank: tuple) -> None:
    """The `quota` best so far: the most complex, then the lowest tie. The worst of them stands at the heap's root."""
    if len(heap) < quota:
        heapq.heappush(heap, rank)
    elif rank > heap[0]:
        heapq.heapreplace(heap, rank)
