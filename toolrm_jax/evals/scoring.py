"""Scores and likelihoods of many groups: packed into rows of a few lengths, so that little is compiled or padded."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from toolrm_jax.data.packing import pack
from toolrm_jax.data.rows import Rows, lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import choose_backend
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel.mesh import data_mesh, replicate, spread
from toolrm_jax.parallel.rules import Placed

# Tokens of a device's rows in one batch. Long rows are packed with less padding, and cost attention nothing: what is
# not seen is not computed. A few short groups still go into a row that is not much longer than they are.
ROW_TOKENS = 2048
SHORTEST_ROW = 512
SLOTS = 64


@dataclasses.dataclass(slots=True)
class Clock:
    """Seconds spent on each part of scoring, added up over calls: tokenising, packing, compiling, the forward pass."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what the block takes under `part`."""
        start = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def outside_forward(self) -> float:
        """The share of the time that was not the forward pass."""
        return 1 - self.seconds.get(FORWARD, 0.0) / (sum(self.seconds.values()) or 1.0)


FORWARD, COMPILE, PACK, TOKENISE = "forward pass", "compile", "pack", "tokenise"


def score(
    model: RewardModel, groups: Sequence[TokenGroup], dtype: jnp.dtype = jnp.float32, clock: Clock | None = None
) -> list[np.ndarray]:
    """The model's score of every answer: per group float32 [K]."""
    return _over_rows(model, groups, _rewards, lambda rows: rows, dtype, clock or Clock())


def log_likelihood(
    model: RewardModel, groups: Sequence[TokenGroup], dtype: jnp.dtype = jnp.float32, clock: Clock | None = None
) -> list[np.ndarray]:
    """The sum of log p(token | context, answer so far) over each answer's tokens: per group float32 [K]."""
    return _over_rows(model, groups, _likelihoods, lambda rows: (rows, _answer_tokens(rows)), dtype, clock or Clock())


def _rewards(graph: Any, mesh: Any, dtype: Any, backend: Any, state: Any, rows: Rows) -> jax.Array:
    with placed(Placed(mesh)):
        model = nnx.merge(graph, state)
        _, rewards = model(rows.tokens, rows.positions, _visible(rows), dtype, backend=backend)
    return jnp.take_along_axis(rewards, rows.score_at, axis=1)


def _likelihoods(graph: Any, mesh: Any, dtype: Any, backend: Any, state: Any, given: Any) -> jax.Array:
    # `at` [B, M]: where the answers' tokens stand in the row, -1 beyond them.
    rows, at = given
    model = nnx.merge(graph, state)
    with placed(Placed(mesh)):
        hidden, _ = model(rows.tokens, rows.positions, _visible(rows), dtype, backend=backend)
    here = jnp.maximum(at, 0)
    source, target = (jnp.take_along_axis(x, here, axis=1) for x in (rows.previous, rows.tokens))
    logp = jnp.where(at >= 0, model.log_probabilities(hidden, source, target), 0)
    ends = jnp.where(rows.slot_group > 0, rows.score_at, rows.tokens.shape[1])
    slot = jax.vmap(lambda e, a: jnp.searchsorted(e, a))(ends, here)
    return jax.vmap(lambda x, i: jnp.zeros(ends.shape[1]).at[i].add(x, mode="drop"))(logp, slot)


def _answer_tokens(rows: Rows) -> np.ndarray:
    counts = (rows.response > 0).sum(axis=1)
    width = min(rows.response.shape[1], _power_of_two(max(int(counts.max(initial=1)), 128)))
    at = np.full((len(counts), width), -1, np.int32)
    for row, response in zip(at, rows.response):
        found = np.flatnonzero(response)
        row[: len(found)] = found
    return at


@functools.cache
def _compiled(run: Callable[..., jax.Array], graph: Any, mesh: Any, dtype: Any, backend: Any) -> _ByShape:
    """One per model structure, so that a second benchmark finds what the first compiled."""
    return _ByShape(jax.jit(functools.partial(run, graph, mesh, dtype, backend)), {})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _ByShape:
    """A function with its compilations by the shapes of its batch, compiled apart from running, to be timed apart."""

    function: Any
    found: dict[Any, Any]

    def __call__(self, state: Any, batch: Any, clock: Clock) -> np.ndarray:
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(batch))
        if shapes not in self.found:
            with clock.on(COMPILE):
                self.found[shapes] = self.function.lower(state, batch).compile()
        with clock.on(FORWARD):
            return np.asarray(self.found[shapes](state, batch))


def _visible(rows: Rows) -> Visible:
    return Visible(rows.group, rows.response)


def _over_rows(
    model: RewardModel,
    groups: Sequence[TokenGroup],
    run: Callable[..., jax.Array],
    given: Callable[[Rows], Any],
    dtype: jnp.dtype,
    clock: Clock,
) -> list[np.ndarray]:
    """Run `run` (what `given` makes of rows, to values [B, S]) over all groups: each group's values in order."""
    graph, state = nnx.split(model)
    mesh = data_mesh(jax.device_count())
    state = replicate(mesh, state)
    compiled = _compiled(run, graph, mesh, jnp.dtype(dtype), choose_backend())
    out = [np.zeros(len(group.responses), np.float32) for group in groups]
    batches = _batches(groups, model.config.max_position_embeddings)
    while True:
        with clock.on(PACK):
            if (batch := next(batches, None)) is None:
                return out
            packed, rows = batch
            spread_out = spread(mesh, given(rows))
        values = compiled(state, spread_out, clock)
        for pieces, row in zip(packed, values):
            slot = 0
            for index, start, stop in pieces:
                out[index][start:stop] = row[slot : slot + stop - start]
                slot += stop - start


def _batches(groups: Sequence[TokenGroup], longest: int) -> Iterator[tuple[list[list[tuple[int, int, int]]], Rows]]:
    """Batches of rows, and for each row its pieces in order: (group, first answer, last answer + 1).

    Rows have ROW_TOKENS tokens, fewer where all groups need fewer, and a longer group goes into the shortest multiple
    by two that holds it; one with very many answers is cut into pieces that repeat the context.
    """
    devices = jax.device_count()
    pieces = [((i, start, stop), piece) for i, g in enumerate(groups) for start, stop, piece in _pieces(g, longest)]
    needed = sum(piece.size for _, piece in pieces) // devices
    shortest = min(ROW_TOKENS, _power_of_two(max(needed, SHORTEST_ROW)))
    by_length: dict[int, list[tuple[tuple[int, int, int], TokenGroup]]] = {}
    for name, piece in pieces:
        by_length.setdefault(max(shortest, _power_of_two(piece.size)), []).append((name, piece))
    for length, items in sorted(by_length.items()):
        sizes, answers = [piece.size for _, piece in items], [len(piece.responses) for _, piece in items]
        planned = pack(sizes, answers, length, SLOTS)
        count = devices * max(1, ROW_TOKENS // length)
        for at in range(0, len(planned), count):
            some = planned[at : at + count]
            rows = [lay_out([items[i][1] for i in row], length, SLOTS) for row in some]
            rows += [lay_out([], length, SLOTS)] * (count - len(some))
            yield [[items[i][0] for i in row] for row in some], stack(rows)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _pieces(group: TokenGroup, longest: int) -> Iterator[tuple[int, int, TokenGroup]]:
    """The group in parts of at most SLOTS answers and `longest` tokens: (first answer, last answer + 1, part)."""
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
        part = slice(start, stop)
        yield (
            start,
            stop,
            TokenGroup(
                group.id, group.source, group.context, group.responses[part], group.right[part], group.kinds[part]
            ),
        )
        start = stop
