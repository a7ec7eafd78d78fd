"""Which error type each question of a rebuilt FC-RewardBench shows: shares as asked for, no type above its cap.

A question offers the types of the wrong answers that are known for it. The scarce types are dealt out first, each up
to its share; what is left takes any type that has room; last, questions change types along chains until no type can
come nearer to its share.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import ErrorType

Offered = Mapping[str, Collection[ErrorType]]
Moves = dict[ErrorType, dict[ErrorType, str]]


def assign(offered: Offered, shares: Mapping[ErrorType, float], cap: float, seed: int) -> dict[str, ErrorType]:
    """An error type for as many questions as can be: of these no type makes more than the share `cap`.

    Raises ConfigError where that leaves no question at all.
    """
    total = sum(shares.values())
    order = sorted(offered, key=lambda id: (seeded(seed, "order of questions", id).random(), id))
    chosen: dict[str, ErrorType] = {}

    def fit(pairs: int, limit: int) -> int:
        wanted = {kind: min(limit, round(pairs * part / total)) for kind, part in shares.items()}
        chosen.clear()
        chosen.update(_fill(offered, order, wanted, limit))
        return len(chosen)

    under_cap(len(offered), cap, fit)
    if offered and not chosen:
        raise ConfigError(_too_low(cap, Counter(kind for kinds in offered.values() for kind in kinds)))
    return chosen


def draw_under_cap(kinds: Sequence[ErrorType], cap: float, seed: int) -> list[int]:
    """The places to keep, as many as can be, so that no type makes more than the share `cap`: a seeded draw.

    Raises ConfigError where that leaves none.
    """
    counts = Counter(kinds)
    limit = 0

    def fit(_: int, allowed: int) -> int:
        nonlocal limit
        limit = allowed
        return sum(min(limit, count) for count in counts.values())

    if under_cap(len(kinds), cap, fit) == 0 and kinds:
        raise ConfigError(_too_low(cap, counts))
    lot = sorted(range(len(kinds)), key=lambda place: seeded(seed, "pair under the cap", str(place)).random())
    kept: Counter[ErrorType] = Counter()
    places = []
    for place in lot:
        if kept[kinds[place]] < limit:
            kept[kinds[place]] += 1
            places.append(place)
    return sorted(places)


def under_cap(count: int, cap: float, fit: Callable[[int, int], int]) -> int:
    """The largest number of pairs of which each type may make up `cap`, and still so many can be had.

    `fit(pairs, limit)` says how many can be had of at most `limit` of each type, if so many are aimed at. Where they
    are fewer, the share of a type is of fewer, and its limit falls with them. Raises ConfigError for no share.
    """
    if not 0 < cap <= 1:
        raise ConfigError(f"cap={cap}: give a share above 0, and at most 1")
    while (found := fit(count, math.floor(cap * count + 1e-9))) < count:
        count = found
    return count


def _too_low(cap: float, counts: Counter[ErrorType]) -> str:
    known = ", ".join(f"{count:,} of {kind}" for kind, count in counts.most_common())
    return f"cap={cap}: no choice of pairs keeps every error type below it (there are {known}); give a larger cap"


def _fill(offered: Offered, order: Sequence[str], wanted: Mapping[ErrorType, int], limit: int) -> dict[str, ErrorType]:
    """As many questions as there can be of at most `limit` of each type, as near to `wanted` as they come."""
    supply = Counter(kind for kinds in offered.values() for kind in kinds)
    chosen: dict[str, ErrorType] = {}
    for kind in sorted(wanted, key=lambda kind: (supply[kind] / max(1, wanted[kind]), str(kind))):
        free = [id for id in order if id not in chosen and kind in offered[id]]
        free.sort(key=lambda id: len(offered[id]))
        chosen.update(dict.fromkeys(free[: wanted[kind]], kind))
    counts = Counter(chosen.values())

    def lacking(kind: ErrorType) -> tuple[int, str]:
        return wanted.get(kind, 0) - counts[kind], str(kind)

    for id in [id for id in order if id not in chosen]:
        room = {kind for kind in supply if counts[kind] < limit}
        first = max(room & set(offered[id]), key=lacking, default=None)
        chain: list[tuple[str, ErrorType]] = []
        if first is None:
            # All its types are full: one of them is freed by a question that can have another type.
            starts = sorted(offered[id])
            if not (chain := _chain(starts, room, _moves(chosen, offered, order))):
                continue
            first = chosen[chain[0][0]]
        chosen.update(chain)
        chosen[id] = first
        counts = Counter(chosen.values())
    while chain := _chain(
        sorted(kind for kind in counts if counts[kind] > wanted.get(kind, 0)),
        {kind for kind in wanted if counts[kind] < wanted[kind]},
        _moves(chosen, offered, order),
    ):
        chosen.update(chain)
        counts = Counter(chosen.values())
    return chosen


def _moves(chosen: Mapping[str, ErrorType], offered: Offered, order: Sequence[str]) -> Moves:
    """For each type in use, the types that one of its questions could have in its place, with that question."""
    moves: Moves = {}
    for id in order:
        if id in chosen:
            for kind in offered[id]:
                if kind != chosen[id]:
                    moves.setdefault(chosen[id], {}).setdefault(kind, id)
    return moves


def _chain(starts: Sequence[ErrorType], ends: Collection[ErrorType], moves: Moves) -> list[tuple[str, ErrorType]]:
    """Questions to give another type, so that one type of `starts` has one less and one of `ends` one more.

    The shortest chain of such moves from one to the other; empty where there is none.
    """
    chains: list[tuple[ErrorType, list[tuple[str, ErrorType]]]] = [(kind, []) for kind in starts]
    seen = set(starts)
    while chains and ends:
        grown = []
        for last, chain in chains:
            for kind, id in sorted(moves.get(last, {}).items()):
                if kind in seen:
                    continue
                seen.add(kind)
                longer = [*chain, (id, kind)]
                if kind in ends:
                    return longer
                grown.append((kind, longer))
        chains = grown
    return []
