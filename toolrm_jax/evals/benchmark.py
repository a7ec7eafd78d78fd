"""The protocol of every benchmark: it yields groups, a judge scores them, its metric sums up with intervals.

A *judge* that scores gives each candidate a number (`baselines.Judge`); a judge that compares is shown two answers in
both orders (`pairwise.PairJudge`). A metric that works on pairs takes either: both become `Credit`s. Where nothing but
scores will do (best of n, four answers at once), `Metric.of_credits` is None. What a judge could not read has no score,
and every metric knows it (`scores`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.metrics import Outcome, outcomes, wilson
from toolrm_jax.evals.scores import Scores
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import ErrorType, Group, Record

RESAMPLES = 1000
OVERALL = "overall"
SINGLE, BOTH = "single-order accuracy", "both-orders accuracy"
"""One is chance at 50 %, the other at 25 % for independent guesses: they are never in one column."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measure(Record):
    """One number of a result: `value` with its 95 % interval, over `n` independent items.

    `part` says which view of the benchmark the row belongs to (by error type, by split, …). Shares are in [0, 1];
    `unit` is "%" for those, and otherwise what the number counts. `low` and `high` are None for a number without an
    interval: a maximum, a calibration error (whose bootstrap is biased upwards), a published one.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    part: str = ""
    unit: str = "%"

    @property
    def shown(self) -> str:
        """As text: `81.2 (78.9 to 83.3)` for a share, three digits for anything else."""
        if self.low is not None and self.high is not None and self.n == 0:
            return "—"
        scale, digits = (100, 1) if self.unit == "%" else (1, 3)
        value = f"{scale * self.value:.{digits}f}"
        if self.low is None or self.high is None:
            return value
        return f"{value} ({scale * self.low:.{digits}f} to {scale * self.high:.{digits}f})"


@dataclasses.dataclass(frozen=True, slots=True)
class Credit:
    """How much of one right × wrong pair a judge got: 1 all, 0 nothing; between them only where orders are averaged.

    `wrong` is the place of the wrong candidate in its group.
    """

    task: str
    category: str
    error_type: ErrorType | None
    value: float
    wrong: int = 1
    tied: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Drawing(Record):
    """A plot's lines: each a name with points (x, y, low, high); shares in [0, 1] where `percent`."""

    title: str
    x: str
    y: str
    lines: tuple[tuple[str, tuple[tuple[float, float, float, float], ...]], ...]
    percent: bool = True
    log: bool = False
    diagonal: bool = False

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name != "lines":
            return value
        return tuple((line, tuple(tuple(point) for point in points)) for line, points in value)


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """How a benchmark sums up. `of_credits` is None where a judge has to give scores.

    `draw` makes a plot of the measures, where one tells more than their table. `headline` says which measures stand
    for the whole where there is room for few (a model card, a table of many benchmarks): by default those of no part.
    """

    name: str
    of_scores: Callable[[Sequence[Group], Scores], tuple[Measure, ...]]
    of_credits: Callable[[Sequence[Credit]], tuple[Measure, ...]] | None = None
    draw: Callable[[Sequence[Measure]], Drawing] | None = None
    headline: Callable[[Measure], bool] = lambda measure: not measure.part

    @classmethod
    def on_pairs(cls, name: str, of_credits: Callable[[Sequence[Credit]], tuple[Measure, ...]]) -> Metric:
        """A metric over pairs, for judges of either kind."""
        return cls(name, lambda groups, scores: of_credits(credits(groups, outcomes(groups, scores))), of_credits)


@dataclasses.dataclass(frozen=True, slots=True)
class Published(Record):
    """A row of somebody's table, beside which ours stand. `metric` says what was measured; values are shares."""

    model: str
    metric: str
    values: dict[str, float]
    source: str
    note: str = ""


def by_error_and_category(found: Sequence[Credit]) -> tuple[Measure, ...]:
    """Accuracy overall, without wrong-number pairs, per error type and per category."""
    kinds = {str(credit.error_type) for credit in found if credit.error_type is not None}
    rows = [share(found, OVERALL)]
    if str(ErrorType.NUMBER) in kinds and len(kinds) > 1:
        fewer = [credit for credit in found if credit.error_type is not ErrorType.NUMBER]
        rows.append(share(fewer, "without wrong-number pairs"))
    rows += [
        share([credit for credit in found if str(credit.error_type) == kind], kind, "by error type")
        for kind in map(str, ErrorType)
        if kind in kinds
    ]
    categories = sorted({credit.category for credit in found})
    if len(categories) > 1:
        rows += [share([c for c in found if c.category == name], name, "by category") for name in categories]
    return tuple(rows)


PAIRS = Metric.on_pairs(SINGLE, by_error_and_category)


@dataclasses.dataclass(frozen=True, slots=True)
class Benchmark:
    """Groups to judge, how to sum up, and what they are: `note` is a sentence for the report.

    `real`: the wrong answers are of real models, not made by rules. `facts` are counts of what was read and left out.
    """

    name: str
    groups: tuple[Group, ...]
    note: str = ""
    metric: Metric = PAIRS
    published: tuple[Published, ...] = ()
    real: bool = True
    facts: tuple[tuple[str, str], ...] = ()

    def non_live(self) -> Benchmark:
        """The questions that BFCL's authors wrote."""
        return self._where("non-live", lambda group: not is_live(group.task.category))

    def live(self) -> Benchmark:
        """The questions that BFCL's users sent (categories `live_*`)."""
        return self._where("live", lambda group: is_live(group.task.category))

    def parsed(self) -> Benchmark:
        """The groups whose answers could all be parsed into calls."""
        return self._where(
            "answers that parse", lambda group: all(candidate.fault is None for candidate in group.candidates)
        )

    def sample(self, count: int | None, seed: int) -> Benchmark:
        """A seeded draw of so many groups, in their order; all with None."""
        kept = drawn(self.groups, count, seed)
        if len(kept) == len(self.groups):
            return self
        facts = (*self.facts, ("groups judged", f"{count:,} of {len(self.groups):,}, drawn with seed {seed}"))
        return dataclasses.replace(self, groups=kept, facts=facts)

    def _where(self, name: str, keep: Callable[[Group], bool]) -> Benchmark:
        kept = tuple(group for group in self.groups if keep(group))
        return dataclasses.replace(self, name=f"{self.name}, {name}", groups=kept)


def drawn(groups: Sequence[Group], count: int | None, seed: int) -> tuple[Group, ...]:
    """A seeded draw of so many groups, in their order; all with None. Raises ConfigError for fewer than one."""
    if count is None:
        return tuple(groups)
    if count < 1:
        raise ConfigError(f"a sample of {count} groups: give at least 1, or None for all")
    lot = [seeded(seed, "sample of groups", group.task.id).random() for group in groups]
    return tuple(groups[k] for k in sorted(sorted(range(len(groups)), key=lot.__getitem__)[:count]))


def is_live(category: str) -> bool:
    """Whether a BFCL category is one of questions that users sent."""
    return category.startswith("live")


def pairs_of(groups: Iterable[Group]) -> Iterator[tuple[Group, int, int]]:
    """Every (group, place of a right candidate, place of a wrong one), in the order of `metrics.outcomes`."""
    for group in groups:
        for right, above in enumerate(group.verdicts):
            for wrong, below in enumerate(group.verdicts):
                if above.right and not below.right:
                    yield group, right, wrong


def credits(groups: Sequence[Group], pairs: Sequence[Outcome]) -> list[Credit]:
    """Pairs as a judge that scores did on them: won or not, a tie being not won. `pairs` is `outcomes(groups, …)`."""
    return [
        Credit(one.task, one.category, one.error_type, float(one.won), wrong, one.tied)
        for one, (_, _, wrong) in zip(pairs, pairs_of(groups), strict=True)
    ]


def share(found: Sequence[Credit], name: str, part: str = "") -> Measure:
    """Mean credit with Wilson's interval; the sample size is the effective number of tasks (Kish), not of pairs."""
    if not found:
        return Measure(name, 0.0, 0.0, 1.0, 0, part)
    sizes: dict[str, int] = {}
    for credit in found:
        sizes[credit.task] = sizes.get(credit.task, 0) + 1
    value = sum(credit.value for credit in found) / len(found)
    effective = len(found) ** 2 / sum(size * size for size in sizes.values())
    return Measure(name, value, *wilson(value, effective), len(found), part)


def mean_with_interval(
    parts: Mapping[str, Sequence[Credit]], name: str, sum_up: Callable[[dict[str, float]], float], part: str = ""
) -> Measure:
    """A number made of the parts' accuracies, with a bootstrap over tasks within each part."""
    values = {key: np.array([credit.value for credit in some]) for key, some in parts.items() if some}
    if not values:
        return Measure(name, 0.0, 0.0, 1.0, 0, part)
    drawn = {key: resampled(some, seeded_numpy("bootstrap", key)) for key, some in parts.items() if some}
    means = [sum_up({key: float(rows[k]) for key, rows in drawn.items()}) for k in range(RESAMPLES)]
    value = sum_up({key: float(some.mean()) for key, some in values.items()})
    low, high = np.quantile(means, (0.025, 0.975))
    return Measure(name, value, float(low), float(high), sum(map(len, values.values())), part)


def resampled(found: Sequence[Credit], random: np.random.Generator) -> np.ndarray:
    """Means of RESAMPLES bootstrap samples over tasks: float64 [RESAMPLES]."""
    tasks: dict[str, list[float]] = {}
    for credit in found:
        tasks.setdefault(credit.task, []).append(credit.value)
    sums = np.array([sum(values) for values in tasks.values()])
    sizes = np.array([len(values) for values in tasks.values()])
    chosen = random.integers(len(sums), size=(RESAMPLES, len(sums)))
    return sums[chosen].sum(1) / sizes[chosen].sum(1)


def bootstrap(values: np.ndarray, name: str, purpose: str, part: str = "", unit: str = "%") -> Measure:
    """The mean of one value per context, float [contexts], with a bootstrap over contexts."""
    if not len(values):
        return Measure(name, 0.0, 0.0, 1.0, 0, part, unit)
    chosen = seeded_numpy(purpose, name).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    return Measure(name, float(values.mean()), float(low), float(high), len(values), part, unit)


def seeded_numpy(purpose: str, record: str = "", seed: int = 0) -> np.random.Generator:
    """NumPy's generator, seeded as all else is."""
    return np.random.default_rng(seeded(seed, purpose, record).getrandbits(64))
