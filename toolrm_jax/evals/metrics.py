"""How often a judge puts the right answer above the wrong one: accuracy with intervals, by key, and side by side.

The unit is the pair of one right and one wrong candidate of a task. A pair is won where the right candidate's score
is strictly greater; in an accuracy a tie counts as wrong, and the share of ties is reported beside it. A pair with an
answer that the judge could not read is not won, and no tie (`scores`). Tasks are independent of one another, pairs of
one task are not: every interval and p-value is over tasks.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.scores import Score
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import ErrorType, Group, Record

Average = Literal["pairs", "groups"]
"""`pairs`: every pair weighs alike. `groups`: every task weighs alike, its pairs share its weight."""

Z_95 = 1.959963984540054
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome(Record):
    """One right × wrong pair as one judge scored it; `error_type` is that of the wrong candidate.

    A score is None where the judge could not read that answer.
    """

    task: str
    category: str
    error_type: ErrorType | None
    right_score: Score
    wrong_score: Score

    @property
    def gap(self) -> float | None:
        """The right candidate's score minus the wrong one's; None where one of them was not read."""
        if self.right_score is None or self.wrong_score is None:
            return None
        return self.right_score - self.wrong_score

    @property
    def won(self) -> bool:
        """Whether both were read and the right candidate scored strictly higher."""
        return (self.gap or 0.0) > 0

    @property
    def tied(self) -> bool:
        """Whether both were read and scored the same."""
        return self.gap == 0

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return ErrorType(value) if name == "error_type" and value is not None else value


@dataclasses.dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in [0, 1]: of pairs won (`value`) and tied, with the Wilson 95 % interval of `value`."""

    value: float
    low: float
    high: float
    ties: float
    pairs: int
    tasks: int

    @property
    def ties_halved(self) -> float:
        """The share that would be won if a coin broke the ties."""
        return self.value + self.ties / 2

    def to_json(self) -> dict[str, float | int]:
        """A plain dict of JSON values."""
        return {**dataclasses.asdict(self), "ties_halved": self.ties_halved}


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two judges on the same pairs: accuracy of the first minus that of the second.

    Here a tie counts for half, as if a coin broke it: to count it as wrong would favour the judge that never ties.
    `low` and `high` bound the difference (bootstrap over tasks, 95 %). `better` and `worse` count the tasks where the
    first does better or worse; `p` is the exact two-sided sign test on them (McNemar's, where a task is one pair).
    """

    difference: float
    low: float
    high: float
    p: float
    better: int
    worse: int
    tasks: int

    def to_json(self) -> dict[str, float | int]:
        """A plain dict of JSON values."""
        return dataclasses.asdict(self)


def outcomes(groups: Sequence[Group], scores: Sequence[Sequence[Score]]) -> tuple[Outcome, ...]:
    """All right × wrong pairs of the groups under a judge's scores, `scores[g][k]` for candidate k of group g.

    Groups without a right or without a wrong candidate give none. Raises DataError for scores of another shape or
    that are not finite; None is an answer that was not read.
    """
    if len(scores) != len(groups):
        raise DataError(f"the judge gave scores for {len(scores)} of {len(groups)} groups; give one list for each")
    found = []
    for group, row in zip(groups, scores):
        name = group.task.id
        if len(row) != len(group.candidates):
            raise DataError(f"task {name}: {len(row)} scores for {len(group.candidates)} candidates; give one for each")
        if bad := [score for score in row if score is not None and not math.isfinite(score)]:
            raise DataError(f"task {name}: the judge's score is {bad[0]}; scores must be finite")
        values = [None if score is None else float(score) for score in row]
        right = [score for score, verdict in zip(values, group.verdicts) if verdict.right]
        wrong = [(score, verdict) for score, verdict in zip(values, group.verdicts) if not verdict.right]
        for above in right:
            found.extend(
                Outcome(name, group.task.category, verdict.error_type, above, below) for below, verdict in wrong
            )
    return tuple(found)


def accuracy(pairs: Iterable[Outcome], by: Average = "pairs") -> Accuracy | None:
    """Accuracy over the pairs, averaged as `by` says; None where there are no pairs.

    The interval takes for its sample size the effective number of tasks (Kish: (Σw)² / Σw²), which is the number of
    pairs where every task has one.
    """
    tasks = list(_by_task(pairs).values())
    if not tasks:
        return None
    weights = np.array(_weights(tasks, by))
    total = weights.sum()
    value = float(weights @ [_share(task, "won") for task in tasks] / total)
    ties = float(weights @ [_share(task, "tied") for task in tasks] / total)
    low, high = wilson(value, float(total**2 / (weights @ weights)))
    return Accuracy(value, low, high, ties, sum(map(len, tasks)), len(tasks))


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share seen in n independent trials (Wilson, 1927)."""
    z2 = Z_95**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = Z_95 / (1 + z2) * math.sqrt(share * (1 - share) / n + z2 / n / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def table(pairs: Iterable[Outcome], key: Callable[[Outcome], str | None], by: Average = "pairs") -> dict[str, Accuracy]:
    """Accuracy of the pairs of each key, most pairs first; pairs whose key is None are left out."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for pair in pairs:
        if (name := key(pair)) is not None:
            found[name].append(pair)
    rows = {name: accuracy(some, by) for name, some in found.items()}
    return dict(sorted(rows.items(), key=lambda row: (-row[1].pairs, row[0])))


def error_type(pair: Outcome) -> str | None:
    """Key for `table`: the wrong candidate's error type."""
    return None if pair.error_type is None else str(pair.error_type)


def category(pair: Outcome) -> str:
    """Key for `table`: the task's category."""
    return pair.category


def without_numbers(pairs: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The pairs whose wrong candidate is not one with a wrong number of calls."""
    return tuple(pair for pair in pairs if pair.error_type is not ErrorType.NUMBER)


def compare(first: Iterable[Outcome], second: Iterable[Outcome], by: Average = "pairs", seed: int = 0) -> Comparison:
    """The first judge against the second, pair by pair. Raises ConfigError where they judged different pairs."""
    one, two = _by_task(first), _by_task(second)
    if {name: _kinds(task) for name, task in one.items()} != {name: _kinds(task) for name, task in two.items()}:
        raise ConfigError("two judges are compared on different pairs; score the same groups with both")
    if not one:
        raise ConfigError("two judges are compared on no pairs; give groups with right and wrong candidates")
    tasks = list(one.values())
    weights = np.array(_weights(tasks, by))
    gains = np.array([_credit(task) - _credit(two[name]) for name, task in one.items()])
    drawn = np.random.default_rng(seeded(seed, "bootstrap").getrandbits(64)).integers(
        len(tasks), size=(RESAMPLES, len(tasks))
    )
    means = (weights * gains)[drawn].sum(1) / weights[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    return Comparison(
        float(weights @ gains / weights.sum()),
        float(low),
        float(high),
        sign_test(better, worse),
        better,
        worse,
        len(tasks),
    )


def sign_test(better: int, worse: int) -> float:
    """Exact two-sided p of `better` against `worse` under a fair coin."""
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**n)


def _by_task(pairs: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    tasks: dict[str, list[Outcome]] = defaultdict(list)
    for pair in pairs:
        tasks[pair.task].append(pair)
    return tasks


def _weights(tasks: Sequence[Sequence[Outcome]], by: Average) -> list[float]:
    if by not in ("pairs", "groups"):
        raise ConfigError(f"accuracy by {by!r} is unknown; use 'pairs' or 'groups'")
    return [float(len(task)) if by == "pairs" else 1.0 for task in tasks]


def _share(task: Sequence[Outcome], what: Literal["won", "tied"]) -> float:
    return sum(getattr(pair, what) for pair in task) / len(task)


def _credit(task: Sequence[Outcome]) -> float:
    return _share(task, "won") + _share(task, "tied") / 2


def _kinds(task: Sequence[Outcome]) -> list[tuple[str, ErrorType | None]]:
    return [(pair.category, pair.error_type) for pair in task]
