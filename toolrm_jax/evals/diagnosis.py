"""What a judge's scores depend on: calibration, length, number of calls, position, context; and its hardest pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from toolrm_jax.data.chat import response_text
from toolrm_jax.evals.baselines import shown_order
from toolrm_jax.evals.benchmark import Credit, Drawing, Measure, credits, pairs_of, share
from toolrm_jax.evals.metrics import Z_95, outcomes, wilson
from toolrm_jax.evals.scores import Scores
from toolrm_jax.toolcalls.types import Group

BINS = 10
LENGTHS = (0, 1000, 2000, 4000, 8000)
"""Lower edges, in characters, of the classes of context length."""
TOOLS = (0, 1, 2, 4, 8, 16)
FEWEST_PAIRS = 4
"""What Fisher's interval of a correlation needs."""
_AXES = "σ of the score difference", "share won"


def calibration(groups: Sequence[Group], scores: Scores) -> tuple[Drawing, Measure]:
    """Reliability of σ(Δ) over right × wrong pairs, and the expected calibration error.

    Every pair is looked at from the side of the answer that scored higher: the bins hold confidences in [0.5, 1].
    Pairs with an answer that was not read are left out.
    """
    gaps = np.array([one.gap for one in outcomes(groups, scores) if one.gap is not None])
    if not len(gaps):
        error = Measure("expected calibration error", 0.0, 0.0, 1.0, 0, "calibration")
        return Drawing("calibration", *_AXES, (), diagonal=True), error
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
    drawing = Drawing("calibration", *_AXES, (("pairs", tuple(points)),), diagonal=True)
    return drawing, Measure("expected calibration error", float(error), None, None, len(gaps), "calibration")


def leanings(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """Rank correlation of the score with what should not decide: length, number of calls, place as shown.

    Within groups where they have several right or several wrong answers, these apart, so that what makes an answer
    right does not count as a leaning. Over the groups that are one pair, of the right answer's lead in score with its
    lead in the feature: the context, which is the same for both, drops out.
    """
    found = []
    for name, value in _FEATURES.items():
        features = [[value(group, k) for k in range(len(group.candidates))] for group in groups]
        found += _within_groups(f"score with {name}", groups, scores, features)
        found += _over_pairs(f"lead in score with lead in {name}", groups, scores, features)
    return tuple(found)


_FEATURES: dict[str, Callable[[Group, int], float]] = {
    "length": lambda group, k: len(response_text(group.candidates[k])),
    "number of calls": lambda group, k: len(group.candidates[k].calls),
    "place as shown": lambda group, k: shown_order(group).index(k),
}


def _within_groups(
    name: str, groups: Sequence[Group], scores: Scores, features: Sequence[Sequence[float]]
) -> Iterator[Measure]:
    """The mean of the groups' rank correlations, right and wrong answers apart."""
    rows = []
    for group, row, values in zip(groups, scores, features, strict=True):
        for right in (True, False):
            places = [k for k, verdict in enumerate(group.verdicts) if verdict.right is right and row[k] is not None]
            if len({values[k] for k in places}) > 1:
                rows.append(_rank_correlation([values[k] for k in places], [row[k] for k in places]))
    if rows:
        mean, spread = float(np.mean(rows)), float(np.std(rows)) / len(rows) ** 0.5
        yield Measure(name, mean, mean - Z_95 * spread, mean + Z_95 * spread, len(rows), "leanings", "rank r")


def _over_pairs(
    name: str, groups: Sequence[Group], scores: Scores, features: Sequence[Sequence[float]]
) -> Iterator[Measure]:
    """The rank correlation over groups of one right and one wrong answer, with Fisher's interval."""
    leads = []
    for group, row, values in zip(groups, scores, features, strict=True):
        rights = [verdict.right for verdict in group.verdicts]
        if sorted(rights) != [False, True] or None in row:
            continue
        right, wrong = rights.index(True), rights.index(False)
        leads.append((values[right] - values[wrong], row[right] - row[wrong]))
    if len(leads) < FEWEST_PAIRS or len({lead for lead, _ in leads}) < 2:
        return
    r = _rank_correlation(*zip(*leads))
    middle, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), Z_95 / (len(leads) - 3) ** 0.5
    low, high = (float(np.tanh(middle + side * half)) for side in (-1, 1))
    yield Measure(name, r, low, high, len(leads), "leanings", "rank r")


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
    """How alike two sets of scores of the same groups are: largest difference, and answers that change places.

    Over the answers that were read both times; nothing where there are none.
    """
    both = [
        [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
        for x, y in zip(one, two, strict=True)
    ]
    gaps = [abs(a - b) for row in both for a, b in row]
    if not gaps:
        return ()
    pairs = [(row[i], row[j]) for row in both for i in range(len(row)) for j in range(i)]
    orders = [(a > c) == (b > d) for (a, b), (c, d) in pairs]
    same = float(np.mean(orders)) if orders else 1.0
    return (
        Measure(f"{name}: largest difference", max(gaps), None, None, len(gaps), "agreement", "score"),
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
    _, place, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]
