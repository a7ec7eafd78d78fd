"""Which of all groups, and which of their pairs, make up the training set and the held-out one.

Works on the shards' indexes alone (index.py). Near-duplicates and repeated ids fall out first; then paper B's balanced
sampling or paper A's mix draws pairs; last, whole conversations are held out.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.balance import MAX_COMPLEXITY, Scored, balance, by_bin, count_pairs, mix, swaps
from toolrm_jax.preferences.index import CLASSES, NO_CALL, read_index
from toolrm_jax.preferences.near import duplicates, repeated
from toolrm_jax.toolcalls.types import Choice

NEAR = "near-duplicates"
REPEATED = "repeated id"
COMPLEX = f"of a complexity over {MAX_COMPLEXITY}"
NOT_DRAWN = "not drawn"
TRAIN, HELD_OUT = "train", "held_out"


@dataclasses.dataclass(frozen=True, slots=True)
class Pick:
    """One group that was drawn: its shard, its row there, and its pairs.

    choices: by the places of candidates in the stored group; none where the group is taken as it is. wrong: how many
    of its wrong answers are kept, None for all.
    """

    shard: int
    row: int
    choices: tuple[Choice, ...] = ()
    wrong: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Picks by side, in the order of shards and rows; `drops` counts groups, `tables` what was there and drawn."""

    picks: dict[str, tuple[Pick, ...]]
    drops: dict[str, int]
    tables: dict[str, dict[str, dict[str, int]]]


class Indexes:
    """The indexes of all shards, opened one at a time; `kept` tells which groups are still in."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        names = ("keys", "conversations", "answers", "complexities", "classes", "sizes")
        light = [read_index(path, *names) for path in self.paths]
        self.keys, self.conversations, self.answers, self.complexities, self.classes, self.sizes = (
            np.concatenate([getattr(index, name) for index in light] or [np.empty(0, np.uint64)]) for name in names
        )
        self.starts = np.cumsum([0, *(len(index) for index in light)])
        self.kept = np.ones(len(self.keys), bool)

    def where(self, place: int) -> tuple[int, int]:
        """Shard and row of a group by its place among all."""
        shard = int(np.searchsorted(self.starts, place, side="right")) - 1
        return shard, place - int(self.starts[shard])

    def drop_repeated(self) -> int:
        """Leave out groups whose id an earlier one has; returns how many."""
        return self.drop(repeated(self.keys))

    def drop_near(self, similarity: float, scratch: Path) -> int:
        """Leave out near-duplicates; signatures are gathered in the file `scratch`, not in memory."""
        sketches = None
        for shard, path in enumerate(self.paths):
            found = read_index(path, "sketches").sketches
            if sketches is None:
                shape = (len(self.keys), found.shape[1])
                sketches = np.lib.format.open_memmap(scratch, "w+", found.dtype, shape)
            sketches[self.starts[shard] : self.starts[shard + 1]] = found
        if sketches is None:
            return 0
        found = duplicates(self.answers, sketches, similarity)
        del sketches
        scratch.unlink()
        return self.drop(found)

    def drop(self, mask: np.ndarray) -> int:
        """Leave out the groups where `mask` is true; returns how many of them were in."""
        count = int((mask & self.kept).sum())
        self.kept &= ~mask
        return count

    def __iter__(self) -> Iterator[Scored]:
        """The groups that are still in, as balancing takes them."""
        for shard, path in enumerate(self.paths):
            index = read_index(path, "keys", "complexities", "sources", "sizes", "scores")
            for group in index.scored(int(self.starts[shard])):
                if self.kept[group.place]:
                    yield group


def select_balanced(indexes: Indexes, total: int, held_out: int, seed: int) -> Selection:
    """Paper B's pairs (balance.py): `total` of them, of which `held_out` for validation, fewer in proportion."""
    drops = {COMPLEX: indexes.drop(indexes.complexities > MAX_COMPLEXITY)}
    supply = count_pairs(indexes)
    drawn = balance(indexes, total, seed, supply)
    per_place = Counter(pair.place for pair in drawn)
    aside = hold_out(indexes, per_place, round(held_out * len(drawn) / total))
    picks: dict[str, list[Pick]] = {TRAIN: [], HELD_OUT: []}
    for side in picks:
        own = [pair for pair in drawn if (pair.place in aside) == (side == HELD_OUT)]
        turned = swaps(((pair.place, pair.better, pair.worse), pair.source, mix(pair.tie)) for pair in own)
        choices: dict[int, list[Choice]] = {}
        for pair in own:
            swapped = (pair.place, pair.better, pair.worse) in turned
            choices.setdefault(pair.place, []).append(Choice(pair.better, pair.worse, swapped))
        picks[side] = [Pick(*indexes.where(place), tuple(some)) for place, some in choices.items()]
    cells = Counter((pair.source, pair.bin) for pair in drawn)
    tables = {"pairs drawn, by source and intensity": by_bin(cells)}
    tables |= {"pairs there were, by source and intensity": by_bin(supply[0] + supply[1])}
    return _selection(picks, indexes, drops, tables)


def select_mixed(indexes: Indexes, total: int, shares: Sequence[int], held_out: int, seed: int) -> Selection:
    """Paper A's pairs: the reference over each wrong answer, by class of task in the ratio `shares`.

    Single-turn and multi-turn tasks make up for each other where one runs short; tasks where no call is right never
    have more than their share of what is drawn. Which groups are drawn is a matter of a hash of their ids.
    """
    if len(shares) != len(CLASSES) or min(shares) < 0 or not sum(shares[:NO_CALL]):
        raise ConfigError(f"mix={','.join(map(str, shares))}: give three shares, of {', '.join(CLASSES)}")
    pairs = np.where(indexes.kept, indexes.sizes.astype(np.int64) - 1, 0)
    supply = [int(pairs[indexes.classes == kind].sum()) for kind in range(len(CLASSES))]
    wanted = mixed_quotas(supply, total, shares)
    kept_pairs: dict[int, int] = {}
    for kind, quota in enumerate(wanted):
        kept_pairs |= _by_hash(indexes.keys, pairs, np.flatnonzero((indexes.classes == kind) & (pairs > 0)), quota)
    aside = hold_out(indexes, kept_pairs, round(held_out * sum(wanted) / total))
    picks: dict[str, list[Pick]] = {TRAIN: [], HELD_OUT: []}
    for place in sorted(kept_pairs):
        count = kept_pairs[place]
        pick = Pick(*indexes.where(place), wrong=None if count == pairs[place] else count)
        picks[HELD_OUT if place in aside else TRAIN].append(pick)
    rows = (("there were", supply), ("drawn", wanted))
    tables = {"pairs by class": {name: dict(zip(CLASSES, counts)) for name, counts in rows}}
    return _selection(picks, indexes, {}, tables)


def mixed_quotas(supply: Sequence[int], total: int, shares: Sequence[int]) -> list[int]:
    """Pairs of each class to draw; see `select_mixed`."""
    single, multi, none = shares
    calling = total * (single + multi) // sum(shares)
    first = min(supply[0], calling * single // (single + multi))
    second = min(supply[1], calling - first)
    first = min(supply[0], calling - second)
    return [first, second, min(supply[NO_CALL], (first + second) * none // (single + multi))]


def hold_out(indexes: Indexes, pairs: dict[int, int] | Counter[int], room: int) -> set[int]:
    """Places of the groups to hold out: whole conversations, in an order by hash, as long as they fit into `room`."""
    sizes: Counter[int] = Counter()
    order: dict[int, int] = {}
    for place, count in pairs.items():
        talk = int(indexes.conversations[place])
        sizes[talk] += count
        order[talk] = min(order.get(talk, 1 << 64), int(indexes.keys[place]))
    aside = set()
    for talk in sorted(order, key=lambda talk: mix(order[talk])):
        if sizes[talk] <= room:
            aside.add(talk)
            room -= sizes[talk]
        if room == 0:
            break
    return {place for place in pairs if int(indexes.conversations[place]) in aside}


def _by_hash(keys: np.ndarray, pairs: np.ndarray, places: np.ndarray, quota: int) -> dict[int, int]:
    """Pairs to keep by place: of the groups with the lowest hashes, until there are `quota`; the last may be cut."""
    heap: list[tuple[int, int, int]] = []  # the highest hash at the root
    held = 0
    for place in places.tolist():
        count = int(pairs[place])
        heapq.heappush(heap, (-int(keys[place]), -place, count))
        held += count
        while heap and held - heap[0][2] >= quota:
            held -= heapq.heappop(heap)[2]
    found = {-place: count for _, place, count in heap}
    if heap and held > quota:
        found[-heap[0][1]] -= held - quota
    return {place: count for place, count in found.items() if count > 0}


def _selection(picks: dict[str, list[Pick]], indexes: Indexes, drops: dict[str, int], tables: dict) -> Selection:
    left = int(indexes.kept.sum()) - sum(map(len, picks.values()))
    return Selection({side: tuple(some) for side, some in picks.items()}, {**drops, NOT_DRAWN: left}, tables)
