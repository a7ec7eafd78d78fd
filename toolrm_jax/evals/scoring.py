"""Scores and likelihoods of many groups: as trees, in rows of a few lengths, so that little is compiled or padded."""

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
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.data.trees import Tree, TreeRows, lay_out_trees
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

    def read(values: np.ndarray, place: _Place) -> np.ndarray:
        return values[place.slot : place.slot + len(place.tree.paths)]

    return _over_rows(model, groups, _rewards, lambda rows: rows, read, dtype, clock or Clock())


def log_likelihood(
    model: RewardModel, groups: Sequence[TokenGroup], dtype: jnp.dtype = jnp.float32, clock: Clock | None = None
) -> list[np.ndarray]:
    """The sum of log p(token | context, answer so far) over each answer's tokens: per group float32 [K]."""

    def read(values: np.ndarray, place: _Place) -> np.ndarray:
        # Values are of the row's answer tokens in order, this tree's from its first one on.
        mine = values[place.answer_tokens :]
        return np.array([mine[path - place.tree.context].sum() for path in place.tree.paths], np.float32)

    return _over_rows(
        model, groups, _likelihoods, lambda rows: (rows, _answer_tokens(rows)), read, dtype, clock or Clock()
    )


def _rewards(graph: Any, mesh: Any, dtype: Any, backend: Any, state: Any, rows: TreeRows) -> jax.Array:
    with placed(Placed(mesh)):
        model = nnx.merge(graph, state)
        _, rewards = model(rows.tokens, rows.positions, Visible(rows.last, rows.real), dtype, backend=backend)
    return jnp.take_along_axis(rewards, rows.ends, axis=1)


def _likelihoods(graph: Any, mesh: Any, dtype: Any, backend: Any, state: Any, given: Any) -> jax.Array:
    # `at` [B, M]: where the answers' tokens stand in the row, 0 beyond them, where what comes out is not read.
    rows, at = given
    model = nnx.merge(graph, state)
    with placed(Placed(mesh)):
        hidden, _ = model(rows.tokens, rows.positions, Visible(rows.last, rows.real), dtype, backend=backend)
    source, target = (jnp.take_along_axis(x, at, axis=1) for x in (rows.before, rows.tokens))
    return model.log_probabilities(hidden, source, target)


def _answer_tokens(rows: TreeRows) -> np.ndarray:
    counts = rows.in_answer.sum(axis=1)
    width = min(rows.in_answer.shape[1], _power_of_two(max(int(counts.max(initial=1)), 128)))
    at = np.zeros((len(counts), width), np.int32)
    for row, in_answer in zip(at, rows.in_answer):
        found = np.flatnonzero(in_answer)
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


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A tree in its row: answers [start, stop) of a group, from that answer slot and answer token of the row on."""

    group: int
    start: int
    tree: Tree
    slot: int
    answer_tokens: int


def _over_rows(
    model: RewardModel,
    groups: Sequence[TokenGroup],
    run: Callable[..., jax.Array],
    given: Callable[[TreeRows], Any],
    read: Callable[[np.ndarray, _Place], np.ndarray],
    dtype: jnp.dtype,
    clock: Clock,
) -> list[np.ndarray]:
    """Run `run` (what `given` makes of rows, to values of each row) over all groups, and read each tree's out of it."""
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
        for places, row in zip(packed, values):
            for place in places:
                stop = place.start + len(place.tree.paths)
                out[place.group][place.start : stop] = read(row, place)


def _batches(groups: Sequence[TokenGroup], longest: int) -> Iterator[tuple[list[list[_Place]], TreeRows]]:
    """Batches of rows, and what stands in each row in order.

    Rows have ROW_TOKENS tokens, fewer where all groups need fewer, and a longer group goes into the shortest multiple
    by two that holds it; one with very many answers is cut into trees that repeat the context.
    """
    devices = jax.device_count()
    trees = [piece for number, group in enumerate(groups) for piece in _pieces(number, group, longest)]
    needed = sum(tree.size for _, _, tree in trees) // devices
    shortest = min(ROW_TOKENS, _power_of_two(max(needed, SHORTEST_ROW)))
    by_length: dict[int, list[tuple[int, int, Tree]]] = {}
    for piece in trees:
        by_length.setdefault(max(shortest, _power_of_two(piece[2].size)), []).append(piece)
    for length, items in sorted(by_length.items()):
        planned = pack([tree.size for *_, tree in items], [len(tree.paths) for *_, tree in items], length, SLOTS)
        count = devices * max(1, ROW_TOKENS // length)
        for at in range(0, len(planned), count):
            some = planned[at : at + count]
            rows = [lay_out_trees([items[i][2] for i in row], length, SLOTS) for row in some]
            rows += [lay_out_trees([], length, SLOTS)] * (count - len(some))
            stacked = jax.tree.map(lambda *fields: np.stack(fields), *rows)
            yield [list(_places([items[i] for i in row])) for row in some], stacked


def _places(pieces: Sequence[tuple[int, int, Tree]]) -> Iterator[_Place]:
    slot = answer_tokens = 0
    for group, start, tree in pieces:
        yield _Place(group, start, tree, slot, answer_tokens)
        slot += len(tree.paths)
        answer_tokens += tree.size - tree.context


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _pieces(number: int, group: TokenGroup, longest: int) -> Iterator[tuple[int, int, Tree]]:
    """The group as trees of at most SLOTS answers, and of `longest` tokens were nothing shared.

    Each with the group's number and that of its first answer.
    """
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
        yield number, start, Tree.of(group.context, group.responses[start:stop])
        start = stop
