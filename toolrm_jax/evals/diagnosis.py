"""What a judge's scores depend on: calibration, length, number of calls, position, context; and its hardest pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolrm_jax.data.chat import response_text
from toolrm_jax.evals.benchmark import Credit, Drawing, Measure, credits, pairs_of, share
from toolrm_jax.evals.metrics import Scores, outcomes, wilson
from toolrm_jax.toolcalls.types import Candidate, Group

BINS = 10
LENGTHS = (0, 1000, 2000, 4000, 8000)
"""Lower edges, in characters, of the classes of context length."""
TOOLS = (0, 1, 2, 4, 8, 16)


def calibration(groups: Sequence[Group], scores: Scores) -> tuple[Drawing, Measure]:
    """Reliability of σ(Δ) over right × wrong pairs, and the expected calibration error.

    Every pair is looked at from the side of the answer that scored higher: the bins hold confidences in [0.5, 1].
    """
    gaps = np.array([one.right_score - one.wrong_score for one in outcomes(groups, scores)])
    confidence = 1 / (1 + np.exp(-np.abs(gaps)))
    won = np.where(gaps == 0, 0.5, gaps > 0)
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    points, error = [], 0.0
    for k in range(BINS):
        inside = place == k
        if inside.any():
            said, was = float(confidence[inside].mean()), float(won[inside].mean())
            points.append((said, was, *wilson(was, int(inside.sum()))))
            error += abs(said - was) * inside.mean()
    drawing = Drawing(
        "calibration", "σ of the score difference", "share won", (("pairs", tuple(points)),), diagonal=True
    )
    return drawing, Measure("expected calibration error", error, error, error, len(gaps), "calibration")


def leanings(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """Rank correlation, within groups, of the score with what should not decide: length, calls, place in the group.

    Over right answers and wrong ones apart, so that what makes an answer right does not count as a leaning.
    """
    found = []
    for name, value in _FEATURES.items():
        rows = []
        for group, row in zip(groups, scores, strict=True):
            for right in (True, False):
                places = [k for k, verdict in enumerate(group.verdicts) if verdict.right is right]
                features = [value(group.candidates[k], k) for k in places]
                if len(set(features)) > 1:
                    rows.append(_rank_correlation(features, [row[k] for k in places]))
        if rows:
            mean, spread = float(np.mean(rows)), float(np.std(rows)) / len(rows) ** 0.5
            found.append(
                Measure(name, mean, mean - 1.96 * spread, mean + 1.96 * spread, len(rows), "leanings", "rank r")
            )
    return tuple(found)


_FEATURES: dict[str, Callable[[Candidate, int], float]] = {
    "score with length": lambda candidate, place: len(response_text(candidate)),
    "score with number of calls": lambda candidate, place: len(candidate.calls),
    "score with place in the group": lambda candidate, place: place,
}


def by_context(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """Accuracy by length of the context, and by number of tools on offer."""
    won = credits(groups, outcomes(groups, scores))
    sizes = [(_characters(group), len(group.task.context.tools)) for group, _, _ in pairs_of(groups)]
    found = []
    for part, edges, unit, which in (
        ("by context length", LENGTHS, "characters", 0),
        ("by number of tools", TOOLS, "tools", 1),
    ):
        classes: dict[int, list[Credit]] = {}
        for credit, size in zip(won, sizes):
            classes.setdefault(int(np.searchsorted(edges, size[which], "right")) - 1, []).append(credit)
        found += [share(some, f"from {edges[k]:,} {unit}", part) for k, some in sorted(classes.items())]
    return tuple(found)


def agreement(one: Scores, two: Scores, name: str) -> tuple[Measure, ...]:
    """How alike two sets of scores of the same groups are: largest difference, and answers that change places."""
    gaps = [abs(a - b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)]
    orders = [(x[i] > x[j]) == (y[i] > y[j]) for x, y in zip(one, two) for i in range(len(x)) for j in range(i)]
    same = float(np.mean(orders)) if orders else 1.0
    return (
        Measure(f"{name}: largest difference", max(gaps), max(gaps), max(gaps), len(gaps), "agreement", "score"),
        Measure(f"{name}: same order", same, *wilson(same, max(1, len(orders))), len(orders), "agreement"),
    )


def _characters(group: Group) -> int:
    context = group.task.context
    return sum(len(m.content) for m in context.messages) + sum(len(str(tool.to_json())) for tool in context.tools)


def _rank_correlation(one: Sequence[float], two: Sequence[float]) -> float:
    """Spearman's, ties given their mean rank; 0 where one side does not vary."""
    a, b = _ranks(one), _ranks(two)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def _ranks(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, float)
    return np.array([(array < value).sum() + ((array == value).sum() - 1) / 2 for value in array])
