"""Judges that compare: shown a context and two answers, they say which is better, and are asked in both orders.

An answer that cannot be read as a choice counts as wrong in its order, and is counted. Two numbers come of it: the
mean over both orders (chance: 50 %) and the share of pairs right in both (chance: 25 % for independent guesses).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.benchmark import BOTH, SINGLE, Credit, Measure, Metric, pairs_of
from toolrm_jax.evals.metrics import Scores
from toolrm_jax.toolcalls.types import Candidate, Context, Group


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A context and two answers in the order shown. `id` names pair and order, for the journal."""

    id: str
    context: Context
    first: Candidate
    second: Candidate


@dataclasses.dataclass(frozen=True, slots=True)
class PairJudge:
    """A name, and a function that answers every question with 1, 2, or None where no choice could be read.

    It raises where it cannot be asked at all (a server that died): nothing is then scored.
    """

    name: str
    choose: Callable[[Sequence[Question]], list[int | None]]
    about: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The credits of a pair judge under both metrics, and how many of its answers were no choice."""

    single: tuple[Credit, ...]
    both: tuple[Credit, ...]
    unreadable: int
    questions: int

    def measures(self, metric: Metric) -> dict[str, tuple[Measure, ...]]:
        """The benchmark's measures of either accuracy."""
        return {SINGLE: metric.of_credits(self.single), BOTH: metric.of_credits(self.both)}


def ask(judge: PairJudge, groups: Sequence[Group]) -> Asked:
    """Every right × wrong pair in both orders."""
    pairs = list(pairs_of(groups))
    questions = [question for pair in pairs for question in _questions(*pair)]
    answers = judge.choose(questions)
    single, both = [], []
    for (group, _, wrong), first, second in zip(pairs, answers[::2], answers[1::2], strict=True):
        won = (first == 1) + (second == 2)
        task, verdict = group.task, group.verdicts[wrong]
        single.append(Credit(task.id, task.category, verdict.error_type, won / 2, wrong))
        both.append(Credit(task.id, task.category, verdict.error_type, float(won == 2), wrong))
    return Asked(tuple(single), tuple(both), sum(answer is None for answer in answers), len(answers))


def _questions(group: Group, a: int, b: int) -> tuple[Question, Question]:
    one, two = (dataclasses.replace(group.candidates[k], maker="") for k in (a, b))
    id, context = f"{group.task.id}/{a}/{b}", group.task.context
    return Question(f"{id}/12", context, one, two), Question(f"{id}/21", context, two, one)


def knockout(judge: PairJudge, groups: Sequence[Group]) -> Scores:
    """Scores from knockouts among each group's answers: how many games each won, so that the winner has the most.

    Both orders are asked; on disagreement the earlier seed stays. All groups play a round at once, so that a server
    is asked in large batches. Raises ConfigError where no group has two answers: there is nothing to compare.
    """
    if all(len(group.candidates) < 2 for group in groups):
        raise ConfigError(f"{judge.name} only compares answers, and these stand alone; give a judge that scores")
    won = [[0.0] * len(group.candidates) for group in groups]
    left = [list(range(len(group.candidates))) for group in groups]
    round = 0
    while any(len(places) > 1 for places in left):
        games = [(g, a, b) for g, places in enumerate(left) for a, b in zip(places[::2], places[1::2])]
        questions = [question for g, a, b in games for question in _questions(groups[g], a, b)]
        answers = judge.choose(questions)
        winners: list[list[int]] = [[] for _ in groups]
        for (g, a, b), first, second in zip(games, answers[::2], answers[1::2], strict=True):
            winners[g].append(b if first == 2 and second == 1 else a)
        # The odd one out goes on without a game; it counts as won, or a later seed could never be first.
        left = [winner + ([places[-1]] if len(places) % 2 else []) for winner, places in zip(winners, left)]
        for places, score in zip(left, won):
            for place in places:
                score[place] = round + 1.0
        round += 1
    return won
