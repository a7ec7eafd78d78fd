"""Choosing training answers by a judge: the best of a set, as many at random, and all of it, to compare (paper A).

The set is groups; what is chosen are right-or-not-known answers as one would train a policy on them: by default each
task's own reference, else its first candidate that nobody calls wrong. The judge never sees which is which.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.benchmark import Measure, bootstrap
from toolrm_jax.evals.scores import Scores
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Candidate, Group, Record, Verdict

TOP, RANDOM, ALL = "top", "random", "all"
REFERENCE = "reference"


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """One selection: its groups, each with the one answer to train on, in the order they came.

    `mean_score` is over the answers that the judge could read.
    """

    name: str
    groups: tuple[Group, ...]
    mean_score: float

    @property
    def sources(self) -> dict[str, int]:
        """How many answers of each source it holds: a judge may prefer one."""
        return dict(Counter(group.task.source for group in self.groups).most_common())


def single_answers(groups: Iterable[Group]) -> list[Group]:
    """Each group with the one answer that would be trained on: the reference, else the first right candidate.

    Groups with neither are left out.
    """
    found = []
    for group in groups:
        answer = _answer(group)
        if answer is not None:
            verdict = Verdict(True, 1.0, None, "the answer to train on")
            found.append(dataclasses.replace(group, candidates=(answer,), verdicts=(verdict,), choices=()))
    return found


def select(groups: Sequence[Group], scores: Scores, keep: int, seed: int = 0) -> tuple[Chosen, Chosen, Chosen]:
    """(top `keep`, `keep` at random, all). Equal scores are ordered by a seeded draw; what was not read comes last.

    Raises ConfigError where there are not more than `keep` answers: then nothing would be filtered.
    """
    if not 0 < keep < len(groups):
        raise ConfigError(f"keep={keep}: give a number from 1 to {len(groups) - 1}, there are {len(groups)} answers")
    values = [row[0] for row in scores]
    lot = [seeded(seed, "filter", group.task.id).random() for group in groups]
    if all(value is None for value in values):
        raise ConfigError("the judge could read none of the answers; give shorter ones, or a judge that reads longer")
    best = sorted(range(len(groups)), key=lambda k: (values[k] is None, -(values[k] or 0.0), lot[k]))[:keep]
    drawn = sorted(range(len(groups)), key=lambda k: lot[k])[:keep]

    def chosen(name: str, places: Iterable[int]) -> Chosen:
        some = sorted(places)
        read = [value for k in some if (value := values[k]) is not None]
        return Chosen(name, tuple(groups[k] for k in some), sum(read) / max(1, len(read)))

    return chosen(TOP, best), chosen(RANDOM, drawn), chosen(ALL, range(len(groups)))


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyResult(Record):
    """What the policy of one selection answers: the share of its answers that are right, a mean over contexts."""

    name: str
    accuracy: Measure

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return Measure.from_json(value) if name == "accuracy" else value


def policy_result(name: str, groups: Sequence[Group]) -> PolicyResult:
    """Accuracy of one policy's answers, equal ones counted as often as given, with a bootstrap over contexts."""
    shares = [
        sum(c.count for c, v in zip(group.candidates, group.verdicts) if v.right)
        / sum(candidate.count for candidate in group.candidates)
        for group in groups
    ]
    return PolicyResult(name, bootstrap(np.array(shares), "right answers", "policy's answers"))


def _answer(group: Group) -> Candidate | None:
    reference = group.task.reference
    if reference is not None:
        return Candidate(reference.calls, reference.text or "", REFERENCE)
    rights = (c for c, v in zip(group.candidates, group.verdicts) if v.right and c.fault is None)
    return next(rights, None)
