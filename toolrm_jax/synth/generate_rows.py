"""Who sits where while answers are written: a context in a slot, each of its answers in a row and a lane of the slot.

Plain bookkeeping on the host; models/decode.py computes with the arrays that it gives.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from toolrm_jax.models.decode import Rows, Sizes
from toolrm_jax.models.decode_attention import Seats


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A context and one seed for each answer that is wanted to it. `name` comes back with every answer."""

    name: Any
    ids: Sequence[int]
    seeds: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """An answer: which one (`sample` is the place of its seed), its tokens without the one that stops it.

    logprobs: of those tokens, in the model's own distribution. stopped: whether it ended itself. seconds: from the
    moment it was given a row.
    """

    name: Any
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool
    seconds: float


@dataclasses.dataclass(slots=True, eq=False)
class Slot:
    """A context at work. `pending`: answers that have no row yet; `free`: lanes that nobody sits in."""

    wanted: Wanted
    pending: deque[int]
    free: list[int]


@dataclasses.dataclass(slots=True, eq=False)
class Row:
    """An answer at work."""

    slot: int
    lane: int
    sample: int
    tokens: list[int]
    logprobs: list[float]
    begun: float


class Table:
    """All slots and rows of a batch; None stands for one that is free."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.slots: list[Slot | None] = [None] * sizes.slots
        self.rows: list[Row | None] = [None] * sizes.rows

    @property
    def live_rows(self) -> list[int]:
        """Rows that an answer is written in."""
        return [index for index, row in enumerate(self.rows) if row]

    @property
    def live_slots(self) -> list[int]:
        """Slots with a context at work."""
        return [index for index, slot in enumerate(self.slots) if slot]

    @property
    def longest(self) -> int:
        """Tokens of the longest context at work that stand in its slot; 0 without any."""
        return max((len(slot.wanted.ids) - 1 for slot in self.slots if slot), default=0)

    @property
    def pending(self) -> int:
        """Answers to contexts at work that have no row yet."""
        return sum(len(slot.pending) for slot in self.slots if slot)

    def place(self, wanted: Wanted) -> int | None:
        """Put a context into a free slot; None where there is none, or no row for its first answer."""
        if None not in self.slots or None not in self.rows:
            return None
        index = self.slots.index(None)
        lanes = list(range(self.sizes.lanes))
        self.slots[index] = Slot(wanted, deque(range(len(wanted.seeds))), lanes)
        return index

    def seat(self) -> None:
        """Give rows to pending answers while there are free rows and lanes."""
        free = [index for index, row in enumerate(self.rows) if row is None]
        for number, slot in enumerate(self.slots):
            while slot and slot.pending and slot.free and free:
                lane, sample = slot.free.pop(), slot.pending.popleft()
                self.rows[free.pop()] = Row(number, lane, sample, [], [], perf_counter())

    def advance(self, tokens: np.ndarray, logprobs: np.ndarray, stop_ids: frozenset[int]) -> Iterator[Written]:
        """Take in what a step (or several) wrote, [n, S] each; rows whose answer has ended become free."""
        for index in self.live_rows:
            for token, logprob in zip(tokens[:, index].tolist(), logprobs[:, index].tolist()):
                row = self.rows[index]
                if token not in stop_ids:
                    row.tokens.append(token)
                    row.logprobs.append(logprob)
                    if len(row.tokens) < self.sizes.window:
                        continue
                yield self._leave(index, stopped=token in stop_ids)
                break

    def _leave(self, index: int, stopped: bool) -> Written:
        row = self.rows[index]
        slot = self.slots[row.slot]
        self.rows[index] = None
        slot.free.append(row.lane)
        if not slot.pending and len(slot.free) == self.sizes.lanes:
            self.slots[row.slot] = None
        seconds = perf_counter() - row.begun
        return Written(slot.wanted.name, row.sample, tuple(row.tokens), tuple(row.logprobs), stopped, seconds)

    def moved(self, sizes: Sizes) -> tuple[Table, np.ndarray, np.ndarray]:
        """The table with other sizes, and which old rows and slots its own were; what is new repeats an old one."""
        live_rows, live_slots = self.live_rows, self.live_slots
        assert len(live_rows) <= sizes.rows
        assert len(live_slots) <= sizes.slots
        table = Table(sizes)
        table.slots[: len(live_slots)] = [self.slots[index] for index in live_slots]
        place = {old: new for new, old in enumerate(live_slots)}
        for new, old in enumerate(live_rows):
            table.rows[new] = dataclasses.replace(self.rows[old], slot=place[self.rows[old].slot])
        fill = lambda live, count: np.array(live + [0] * (count - len(live)), np.int32)  # noqa: E731
        return table, fill(live_rows, sizes.rows), fill(live_slots, sizes.slots)

    def arrays(self) -> tuple[Rows, Seats]:
        """The table as a step is given it."""
        sizes = self.sizes
        token, position, count, seed, lane = (np.zeros(sizes.rows, np.int32) for _ in range(5))
        live = np.zeros(sizes.rows, bool)
        seats, length = np.zeros((sizes.slots, sizes.lanes), np.int32), np.zeros(sizes.slots, np.int32)
        for index in self.live_rows:
            row = self.rows[index]
            wanted = self.slots[row.slot].wanted
            written = len(row.tokens)
            token[index] = row.tokens[-1] if written else wanted.ids[-1]
            position[index] = len(wanted.ids) - 1 + written
            count[index], seed[index], live[index] = written, wanted.seeds[row.sample], True
            lane[index] = row.slot * sizes.lanes + row.lane
            seats[row.slot, row.lane] = index
        for index in self.live_slots:
            length[index] = len(self.slots[index].wanted.ids) - 1
        return Rows(token, position, count, seed, live), Seats(seats, lane, length)
