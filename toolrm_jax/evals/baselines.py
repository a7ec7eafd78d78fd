"""Judges, and those that need no model: random, schema-valid, shorter, longer."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

from toolrm_jax.data.chat import response_text
from toolrm_jax.errors import DataError
from toolrm_jax.evals.scores import Scores
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Candidate, Group, Verdict

NO_CALL_VIOLATIONS = 1
"""An answer that is no call breaks one rule: there was a call to make."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """A name, a function that scores every candidate of every group by its context alone, and a phrase on how.

    `judge(groups)` shows the function the groups with all that would give the answer away taken out (`blind`).
    """

    name: str
    score: Callable[[Sequence[Group]], Scores]
    about: str = ""

    def __call__(self, groups: Sequence[Group]) -> Scores:
        """Scores in the groups' own order of candidates. Raises DataError for a wrong number, or what is no number."""
        orders = [shown_order(group) for group in groups]
        found = self.score([blind(group, order) for group, order in zip(groups, orders)])
        if [len(row) for row in found] != [len(order) for order in orders]:
            raise DataError(f"judge {self.name!r}: it gave not one score for every candidate of every group")
        for group, row in zip(groups, found):
            if bad := [score for score in row if score is not None and not math.isfinite(score)]:
                raise DataError(f"judge {self.name!r}: scores task {group.task.id} with {bad[0]}; its model is broken")
        return [[row[order.index(k)] for k in range(len(order))] for row, order in zip(found, orders)]


def blind(group: Group, order: Sequence[int]) -> Group:
    """The group as a judge may see it: candidates in `order`, without makers, verdicts and reference."""
    task = dataclasses.replace(group.task, reference=None)
    candidates = tuple(_plain(group.candidates[k]) for k in order)
    return Group(task, candidates, tuple(Verdict(False, 0.0) for _ in order))


def _plain(candidate: Candidate) -> Candidate:
    """The answer without its makers, nor the white space and closed think block around what it says.

    Chat templates take those off themselves, some of them only when they render a whole conversation.
    """
    raw = candidate.raw if candidate.raw is None else _THINK.sub("", candidate.raw, count=1).strip()
    text = _THINK.sub("", candidate.text, count=1).strip()
    return dataclasses.replace(candidate, maker="", others=None, text=text, raw=raw)


_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


def each(score: Callable[[Group, Candidate], float]) -> Callable[[Sequence[Group]], Scores]:
    """A judge's function from one that scores a single candidate."""
    return lambda groups: [[score(group, candidate) for candidate in group.candidates] for group in groups]


def random_judge(seed: int = 0) -> Judge:
    """Scores drawn by the task's id: the same for a task whatever it is judged with."""

    def score(groups: Sequence[Group]) -> Scores:
        generators = [seeded(seed, "random judge", group.task.id) for group in groups]
        return [[dice.random() for _ in group.candidates] for dice, group in zip(generators, groups)]

    return Judge("random", score, "a number drawn by lot")


def schema_score(group: Group, candidate: Candidate) -> float:
    """Minus the number of violations of the tools' schemas; an answer without a call counts as one violation."""
    if not candidate.calls:
        return -float(NO_CALL_VIOLATIONS)
    return -float(sum(len(violations(group.task.context.tools, call)) for call in candidate.calls))


def shown_order(group: Group) -> list[int]:
    """The places of a group's answers in the order in which every judge is shown them: right ones come anywhere."""
    order = list(range(len(group.candidates)))
    seeded(0, "order of candidates", group.task.id).shuffle(order)
    return order


SCHEMA_VALID = Judge("schema-valid", each(schema_score), "the fewer violations of the tools' schemas, the better")
SHORTER = Judge(
    "shorter", each(lambda group, candidate: -float(len(response_text(candidate)))), "the shorter text is the better"
)
LONGER = Judge(
    "longer", each(lambda group, candidate: float(len(response_text(candidate)))), "the longer text is the better"
)


def without_model(seed: int = 0) -> tuple[Judge, ...]:
    """The judges of this module, weakest idea first."""
    return (random_judge(seed), SHORTER, LONGER, SCHEMA_VALID)
