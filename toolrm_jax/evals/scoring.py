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

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.data.trees import TreeRows
from toolrm_jax.evals.tree_rows import Place, power_of_two, tree_batches
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import choose_backend
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel.mesh import data_mesh, replicate, spread
from toolrm_jax.parallel.rules import Placed


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

    def read(values: np.ndarray, place: Place) -> np.ndarray:
        return values[place.slot : place.slot + len(place.tree.paths)]

    return _over_rows(model, groups, _rewards, lambda rows: rows, read, dtype, clock or Clock())


def log_likelihood(
    model: RewardModel, groups: Sequence[TokenGroup], dtype: jnp.dtype = jnp.float32, clock: Clock | None = None
) -> list[np.ndarray]:
    """The sum of log p(token | context, answer so far) over each answer's tokens: per group float32 [K]."""

    def read(values: np.ndarray, place: Place) -> np.ndarray:
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
    width = min(rows.in_answer.shape[1], power_of_two(max(int(counts.max(initial=1)), 128)))
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


def _over_rows(
    model: RewardModel,
    groups: Sequence[TokenGroup],
    run: Callable[..., jax.Array],
    given: Callable[[TreeRows], Any],
    read: Callable[[np.ndarray, Place], np.ndarray],
    dtype: jnp.dtype,
    clock: Clock,
) -> list[np.ndarray]:
    """Run `run` (what `given` makes of rows, to values of each row) over all groups, and read each tree's out of it."""
    graph, state = nnx.split(model)
    mesh = data_mesh(jax.device_count())
    state = replicate(mesh, state)
    compiled = _compiled(run, graph, mesh, jnp.dtype(dtype), choose_backend())
    out = [np.zeros(len(group.responses), np.float32) for group in groups]
    batches = tree_batches(groups, model.config.max_position_embeddings, jax.device_count())
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
