"""AUC of a judge's scores against people's thumbs on Taskmaster's API calls.

One answer a dialogue, called good or bad. The good shares of TM-3 and TM-4 are nearly opposite, so each set stands
alone: an AUC over both would measure which set an answer is of. Words without a call are reported apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.evals.benchmark import RESAMPLES, Benchmark, Measure, Metric, seeded_numpy
from toolrm_jax.evals.scores import Scores
from toolrm_jax.sources import taskmaster
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Group


def read(path: Path | str) -> Benchmark:
    """The reward rows of TM-3 and TM-4 at or below `path`."""
    drops = Drops()
    groups = tuple(taskmaster.read_candidates(Path(path), drops))
    if not groups:
        raise DataError(f"{path}: no reward rows there; give the folder of Google's Taskmaster")
    facts = (("answers", f"{len(groups):,}"), ("left out", f"{drops.total:,}"))
    note = "People's thumbs on one answer a dialogue: the chance that a good answer scores above a bad one."
    return Benchmark("Taskmaster thumbs", groups, note, METRIC, facts=facts)


def measures(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """AUC of each set, of API calls and of words, over the answers that were read."""
    rows: dict[str, list[tuple[bool, float]]] = {}
    for group, row in zip(groups, scores, strict=True):
        if row[0] is None:
            continue
        kind = "API calls" if group.candidates[0].calls else "words"
        rows.setdefault(f"{group.task.category}, {kind}", []).append((group.verdicts[0].right, row[0]))
    found = []
    for name in sorted(rows):
        right = np.array([good for good, _ in rows[name]])
        values = np.array([score for _, score in rows[name]])
        if right.any() and not right.all():
            found.append(_measure(name, right, values))
    return tuple(found)


METRIC = Metric("AUC", measures)


def auc(right: np.ndarray, scores: np.ndarray) -> float:
    """The share of (good, bad) pairs in which the good one scores higher, a tie counting for half."""
    order = np.sort(scores[~right])
    below = np.searchsorted(order, scores[right], "left")
    upto = np.searchsorted(order, scores[right], "right")
    return float((below + upto).mean() / 2 / len(order))


def _measure(name: str, right: np.ndarray, scores: np.ndarray) -> Measure:
    random = seeded_numpy("AUC", name)
    good, bad = scores[right], scores[~right]
    labels = np.repeat([True, False], [len(good), len(bad)])
    values = [
        auc(labels, np.concatenate([random.choice(good, len(good)), random.choice(bad, len(bad))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    return Measure(name, auc(right, scores), float(low), float(high), len(right), "", "AUC")
