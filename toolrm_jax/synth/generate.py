"""Answers of our own models, in process: token ids in, token ids and log-probabilities out.

A context is read once, whatever the number of its answers. Rows whose answer has ended are given the next one at once.
Every answer is drawn with its own seed: what it is depends neither on its row nor on what stands beside it.

Contexts are taken in waves, the longest of a wave first, so that slots are hardly longer than what stands in them. As a
wave goes on to shorter ones, and when at the end few rows are still at work, the batch is made smaller: sizes are
few, and each that is met is compiled once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from toolrm_jax.errors import ModelError
from toolrm_jax.models.decode import Decoder, Sizes, decode, new_cache, prefill, resized
from toolrm_jax.models.draw import Filters
from toolrm_jax.synth.generate_rows import Table, Wanted, Written


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be.

    rows: answers at a time; powers of two are compiled. cache_gib: of keys and values. chunk: tokens of a context read
    at a time, and the least that a slot holds. steps: tokens written between two looks at what has ended; more hides
    the host's work on an accelerator, and wastes what is written after an end. wave: contexts that are sorted by
    length together.
    """

    rows: int = 128
    cache_gib: float = 4.0
    chunk: int = 128
    steps: int = 1
    wave: int = 512

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ModelError(f"sampler: {field.name}={getattr(self, field.name)}; expected a positive number")


LANES = 16
"""Answers to one context written at a time, at most; the others wait until lanes become free."""


def generate(
    model: Decoder,
    wanted: Iterable[Wanted],
    *,
    stop_ids: Sequence[int],
    max_tokens: int,
    filters: Filters,
    limits: Limits = Limits(),
) -> Iterator[list[Written]]:
    """After every step the answers that it ended, often none, in no promised order; over when all are written.

    An answer ends with one of `stop_ids` (which is not of it) or after `max_tokens` tokens. `wanted` is drawn from a
    wave at a time. Raises ModelError for a context that the model cannot read or that does not fit into memory.
    """
    return _Run(model, iter(wanted), frozenset(stop_ids), max_tokens, filters, limits).steps()


def cache_gib(model: Decoder, tokens: int, max_tokens: int, limits: Limits) -> float:
    """What keys and values of one context and one answer take when nothing else is at work, in GiB."""
    sizes = Sizes(1, 1, 1, _slot(tokens, limits), max_tokens)
    return sizes.cache_bytes(model.config, model.dtype) / 2**30


class _Run:
    def __init__(
        self,
        model: Decoder,
        source: Iterator[Wanted],
        stop_ids: frozenset[int],
        max_tokens: int,
        filters: Filters,
        limits: Limits,
    ) -> None:
        self.model, self.source, self.stop_ids, self.filters, self.limits = model, source, stop_ids, filters, limits
        self.window = max_tokens
        self.waiting: list[Wanted] = []
        self.exhausted = False
        self._next_wave()
        self.answers = max((len(one.seeds) for one in self.waiting), default=1)
        self.lanes = min(LANES, _power_of_two(self.answers))
        self.table = Table(Sizes(0, 0, self.lanes, 0, max_tokens))
        if not self.waiting:
            return
        self.table = Table(self._sizes())
        self.cache = new_cache(model.config, self.table.sizes, model.dtype)
        self.column = 0

    def steps(self) -> Iterator[list[Written]]:
        if not self.waiting:
            return
        while True:
            self._next_wave()
            self._admit()
            if not self.table.live_rows:
                assert not self.waiting, "contexts wait although nothing is at work"
                return
            rows, seats = self.table.arrays()
            self.cache, tokens, logprobs = decode(
                self.model, self.cache, rows, seats, np.int32(self.column), self.filters, self.limits.steps
            )
            self.column = (self.column + self.limits.steps) % self.window
            yield list(self.table.advance(np.asarray(tokens), np.asarray(logprobs), self.stop_ids))

    def _next_wave(self) -> None:
        """Draw contexts when none waits; the longest is the last of the list."""
        while not self.waiting and not self.exhausted:
            self.waiting = list(islice(self.source, self.limits.wave))
            self.exhausted = len(self.waiting) < self.limits.wave
            self.waiting = sorted((one for one in self.waiting if len(one.seeds)), key=lambda one: len(one.ids))
            for one in self.waiting:
                self._check(one)

    def _check(self, one: Wanted) -> None:
        longest = self.model.config.max_position_embeddings
        if not len(one.ids):
            raise ModelError(f"context {one.name}: has no tokens, so there is nothing to answer")
        if len(one.ids) + self.window > longest:
            raise ModelError(
                f"context {one.name}: {len(one.ids)} tokens and {self.window} more are asked for, the model reads at "
                f"most {longest}; shorten it or lower max_tokens"
            )

    def _admit(self) -> None:
        """Rows for pending answers, then contexts into slots, as long as there are free ones of the right size."""
        self.table.seat()
        while True:
            self._fit()
            longest = self.waiting[-1] if self.waiting else None
            if longest is None or len(longest.ids) - 1 > self.table.sizes.slot:
                return
            slot = self.table.place(longest)
            if slot is None:
                return
            self.waiting.pop()
            self._read(longest, slot)
            self.table.seat()

    def _read(self, wanted: Wanted, slot: int) -> None:
        """A context but its last token into its slot, chunk by chunk."""
        ids, chunk = np.asarray(wanted.ids, np.int32)[:-1], self.limits.chunk
        for start in range(0, len(ids), chunk):
            part = ids[start : start + chunk]
            tokens = np.pad(part, (0, chunk - len(part)))
            self.cache = prefill(self.model, self.cache, tokens, np.int32(slot), np.int32(start), np.int32(len(part)))

    def _fit(self) -> None:
        """Other sizes where the waiting need longer slots or more rows, or much less would do."""
        now, sizes = self.table.sizes, self._sizes()
        fits = len(self.table.live_rows) <= sizes.rows and len(self.table.live_slots) <= sizes.slots
        if fits and (sizes.slot != now.slot or sizes.rows > now.rows or 4 * sizes.rows <= now.rows):
            self.table, rows, slots = self.table.moved(sizes)
            self.cache = resized(self.cache, rows, slots, sizes)

    def _sizes(self) -> Sizes:
        """What the contexts at work and the next one call for, within the limits."""
        table = self.table
        longest, left, slots = table.longest, len(table.live_rows) + table.pending, len(table.live_slots)
        if self.waiting:
            longest = max(longest, len(self.waiting[-1].ids) - 1)
        left += sum(len(one.seeds) for one in self.waiting)
        slot = _slot(longest + 1, self.limits)
        rows = self.limits.rows if not self.exhausted else min(self.limits.rows, max(8, _power_of_two(left)))
        while True:
            # Twice the slots that full ones would need: answers of a context end one by one, the last holds its slot.
            count = min(rows, _power_of_two(max(slots, -(-2 * rows // min(self.lanes, self.answers)))))
            sizes = Sizes(rows, count, self.lanes, slot, self.window)
            needed = sizes.cache_bytes(self.model.config, self.model.dtype) / 2**30
            if needed <= self.limits.cache_gib:
                return sizes
            if rows == 1:
                raise ModelError(
                    f"sampler: a context of {longest} tokens and an answer of {self.window} need {needed:.2f} GiB of "
                    f"keys and values, cache_gib={self.limits.cache_gib}; raise it or lower max_tokens"
                )
            rows //= 2


def _slot(tokens: int, limits: Limits) -> int:
    """Tokens of the slot for a context of so many: the last one of it is the first that an answer's row is given."""
    return limits.chunk * _chunks(-(-(tokens - 1) // limits.chunk))


def _power_of_two(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()


def _chunks(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below `count`."""
    above = _power_of_two(count)
    return above * 3 // 4 if above >= 4 and count <= above * 3 // 4 else above
