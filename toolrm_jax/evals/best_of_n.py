"""Best of n: of n sampled answers a judge keeps one; how often is it right, beside selectors that need no judge.

The samples are answers as they were drawn: equal ones are one candidate with its `count`. n answers are drawn without
replacement, SHUFFLES times for each context, and the same draws are given to every selector. Where a selector cannot
tell answers apart, each of those it likes best is as likely: its credit is the share of right ones among them. The
judge keeps none that it could not read; where it read none of a draw, it has no credit.
Intervals are bootstraps over contexts. Irrelevance (where no call is right) is reported apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.evals.baselines import schema_score
from toolrm_jax.evals.benchmark import Benchmark, Drawing, Measure, Metric, bootstrap, seeded_numpy
from toolrm_jax.evals.scores import Score, Scores
from toolrm_jax.toolcalls.types import Group

SHUFFLES = 16
RANDOM, MAJORITY, SCHEMA, ORACLE, JUDGE, GREEDY = "random", "majority", "schema-valid", "oracle", "judge", "greedy"
VALID_JUDGE = "judge among schema-valid"
IRRELEVANCE = "irrelevance"
SIZES = (1, 2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """A question with the distinct answers to it, how often each was drawn, and which one is greedy, if one is.

    The greedy answer is none of the draws: its count is that of equal answers that were drawn, and may be 0.
    """

    group: Group
    counts: tuple[int, ...]
    greedy: int | None = None

    def __post_init__(self) -> None:
        drawn = [count for place, count in enumerate(self.counts) if place != self.greedy or count < 0]
        if len(self.counts) != len(self.group.candidates) or min(drawn, default=1) < 1:
            raise DataError(f"task {self.group.task.id}: every answer but the greedy one needs a count of 1 or more")

    @property
    def drawn(self) -> int:
        """How many answers were sampled."""
        return sum(self.counts)


def benchmark(name: str, samples: Iterable[Samples], note: str, sizes: Sequence[int] = SIZES) -> Benchmark:
    """The best-of-n benchmark of these samples, of those questions that have as many as the largest n."""
    samples = list(samples)
    kept = [one for one in samples if one.drawn >= max(sizes)]
    if not kept:
        most = max((one.drawn for one in samples), default=0)
        raise DataError(f"{name}: no question has {max(sizes)} answers, the most are {most}; ask for a smaller n")
    by_id = {one.group.task.id: one for one in kept}
    metric = Metric(
        "accuracy of the answer kept",
        lambda groups, scores: measures(groups, scores, by_id, sizes),
        draw=curves,
        headline=lambda measure: measure.name == f"{JUDGE}, best of {max(sizes)}",
    )
    facts = (
        ("questions", f"{len(kept):,}"),
        (f"left out, fewer than {max(sizes)} answers", f"{len(samples) - len(kept):,}"),
        ("answers", f"{sum(one.drawn for one in kept):,}, {sum(len(one.counts) for one in kept):,} distinct"),
    )
    greedy = sum(one.greedy is not None for one in kept)
    if 0 < greedy < len(kept):
        facts += (("questions with a greedy answer", f"{greedy:,}"),)
    return Benchmark(name, tuple(one.group for one in kept), note, metric, facts=facts)


def measures(
    groups: Sequence[Group], scores: Scores, samples: dict[str, Samples], sizes: Sequence[int]
) -> tuple[Measure, ...]:
    """Accuracy by selector and n (`judge, best of 4`): the largest n first, irrelevance in a part of its own."""
    found: dict[str, dict[tuple[str, int], list[float]]] = {"": {}, IRRELEVANCE: {}}
    for group, row in zip(groups, scores, strict=True):
        part = found[IRRELEVANCE if _no_call(group) else ""]
        for key, value in _of_context(samples[group.task.id], _array(row), sizes).items():
            part.setdefault(key, []).append(value)
    largest = max(sizes)
    return tuple(
        bootstrap(
            np.array(values),
            f"{selector}, best of {n}",
            f"best of n {part}",
            part or ("" if n == largest else f"best of {n}"),
        )
        for part, rows in found.items()
        for (selector, n), values in sorted(rows.items(), key=lambda row: (-row[0][1], _ORDER.index(row[0][0])))
    )


def curves(measured: Sequence[Measure]) -> Drawing:
    """The plot of accuracy over n."""
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in measured:
        selector, _, n = one.name.partition(", best of ")
        if n and one.part != IRRELEVANCE:
            lines.setdefault(selector, []).append((float(n), one.value, one.low, one.high))
    kept = tuple((name, tuple(sorted(lines[name]))) for name in _ORDER if name in lines)
    return Drawing("accuracy of the answer kept", "answers to choose from", "accuracy", kept, log=True)


_ORDER = (GREEDY, RANDOM, SCHEMA, MAJORITY, JUDGE, VALID_JUDGE, ORACLE)


def _no_call(group: Group) -> bool:
    """Whether the reference says that no call is right; without a reference some call is."""
    reference = group.task.reference
    return reference is not None and not reference.calls


def _array(row: Sequence[Score]) -> np.ndarray:
    """Scores as float64 [answers], minus infinity for what was not read."""
    return np.array([-np.inf if score is None else score for score in row])


def _of_context(one: Samples, scores: np.ndarray, sizes: Sequence[int]) -> dict[tuple[str, int], float]:
    """Credit of every selector at every n, a mean over SHUFFLES draws."""
    right = np.array([verdict.right for verdict in one.group.verdicts], float)
    valid = np.array([schema_score(one.group, candidate) for candidate in one.group.candidates])
    faulty = np.array([candidate.fault is not None for candidate in one.group.candidates])
    answers = np.repeat(np.arange(len(right)), one.counts)
    random = seeded_numpy("draws of n", one.group.task.id)
    orders = [random.permutation(answers)[: max(sizes)] for _ in range(SHUFFLES)]
    credit: dict[tuple[str, int], float] = {}
    for n in sizes:
        for name, keep in _selectors(scores, valid, faulty).items():
            credit[name, n] = float(np.mean([_share(right[keep(order[:n])]) for order in orders]))
        credit[ORACLE, n] = float(np.mean([right[order[:n]].max() for order in orders]))
        if one.greedy is not None:
            credit[GREEDY, n] = float(right[one.greedy])
    return credit


def _share(right: np.ndarray) -> float:
    """Of the answers kept, the share that is right; 0 where none was kept."""
    return float(right.mean()) if len(right) else 0.0


def _selectors(
    scores: np.ndarray, valid: np.ndarray, faulty: np.ndarray
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What each selector keeps of a draw: the answers (with repeats) that it likes best."""

    def best(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda draw: draw[(values[draw] == values[draw].max()) & (values[draw] > -np.inf)]

    def majority(draw: np.ndarray) -> np.ndarray:
        # What could not be read is no vote; all of such a draw are equally little.
        votes = np.bincount(draw[~faulty[draw]], minlength=len(valid))
        return draw[votes[draw] == votes[draw].max()]

    judge, first = best(scores), best(valid)
    return {
        RANDOM: lambda draw: draw,
        SCHEMA: first,
        MAJORITY: majority,
        JUDGE: judge,
        VALID_JUDGE: lambda draw: judge(first(draw)),
    }


def from_answers(groups: Iterable[Group], key: Callable[[Any], Any]) -> list[Samples]:
    """Samples of groups whose candidates may repeat one another: equal by `key` are one, with the sum of their counts.

    The answer of a model whose name ends in `greedy` is the greedy one, and none of the draws.
    """
    found = []
    for group in groups:
        places: dict[Any, int] = {}
        counts: list[int] = []
        firsts: list[int] = []
        greedy = None
        for place, candidate in enumerate(group.candidates):
            name = key(candidate)
            if name not in places:
                places[name] = len(counts)
                counts.append(0)
                firsts.append(place)
            for maker, count in candidate.makers.items():
                if maker.endswith(GREEDY):
                    greedy = places[name]
                else:
                    counts[places[name]] += count
        if not counts:
            continue
        kept = dataclasses.replace(
            group,
            candidates=tuple(group.candidates[k] for k in firsts),
            verdicts=tuple(group.verdicts[k] for k in firsts),
            choices=(),
        )
        found.append(Samples(kept, tuple(counts), greedy))
    return found
