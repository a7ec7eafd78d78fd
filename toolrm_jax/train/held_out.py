"""What the held-out groups say of a model during training: loss and accuracy, also by source and by error type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toolrm_jax.data.dataset import RowSource, batches
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.models.attention_backend import Backend
from toolrm_jax.parallel.mesh import rows_of_process, spread
from toolrm_jax.seeding import seeded
from toolrm_jax.train.config import TrainConfig
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.loss import Sums
from toolrm_jax.train.optimizer import judged_weights
from toolrm_jax.train.step import make_eval_step

Evaluate = Callable[[TrainState, Any], dict[str, float]]


def held_out_rows(config: TrainConfig, held_out: Sequence[TokenGroup]) -> RowSource:
    """The rows of a sample of the held-out groups, the same in every run. Raises DataError where none fits a row.

    A sample, since groups stand in the order of their tasks' ids: the first ones are all of one category.
    """
    data = config.data
    drawn = sorted(held_out, key=lambda group: seeded(0, "held out during training", group.id).random())
    try:
        return RowSource(drawn[: data.held_out_groups], data.row_length, data.slots, config.part_rows, 1, 0)
    except DataError as error:
        raise DataError(f"data.held_out: {error}") from None


def held_out_evaluation(
    config: TrainConfig, layout: Layout, graph: Any, dtype: jnp.dtype, backend: Backend, source: RowSource
) -> Evaluate:
    """A function of the state that judges these rows."""
    rows = config.part_rows
    step = make_eval_step(graph, config.loss_weights, dtype, layout, backend, source.most_right_tokens)
    mine = rows_of_process(layout.mesh, rows)

    def evaluate(state: TrainState, frozen: Any) -> dict[str, float]:
        weights = judged_weights(state.params, state.optimizer)
        found = [
            jax.device_get(step(weights, frozen, spread(layout.mesh, part))) for part in batches(source, rows, mine)
        ]
        sums: Sums = jax.tree.map(lambda *parts: np.sum(parts, axis=0), *(sums for sums, _ in found))
        groups = [[source.groups[i] for i in row] for row in source.plan]
        return sums.means() | by_kind(groups, np.concatenate([scores for _, scores in found]))

    return evaluate


def by_kind(rows: Sequence[Sequence[TokenGroup]], scores: np.ndarray) -> dict[str, float]:
    """Shares of pairs in order: of each source, its groups alike, and of each error type, its worse answers alike.

    scores: float32 [rows, slots], the answers of a row's groups one after the other.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for row, groups in zip(scores, rows):
        slot = 0
        for group in groups:
            mine = row[slot : slot + len(group.responses)]
            slot += len(group.responses)
            pairs = group.better_than()
            if not pairs.any():
                continue
            above = pairs & (mine[:, None] > mine[None, :])
            found[f"correct/source/{group.source}"].append(float(above.sum() / pairs.sum()))
            for worse in np.flatnonzero(pairs.any(axis=0)):
                if kind := group.kinds[worse]:
                    found[f"correct/error/{kind}"].append(float(above[:, worse].sum() / pairs[:, worse].sum()))
    return {name: float(np.mean(shares)) for name, shares in sorted(found.items())}
