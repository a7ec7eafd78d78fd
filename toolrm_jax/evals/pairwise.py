"""Judges that compare: shown a context and two answers, they say which is better, and are asked in both orders.

An answer that cannot be read as a choice counts as wrong in its order, and so does a question that the judge could not
read; both are counted. Two numbers come of it: the mean over both orders (chance: 50 %) and the share of pairs right
in both (chance: 25 % for independent guesses). Where scores are needed, answers are played off by knockout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.baselines import blind, shown_order
from toolrm_jax.evals.benchmark import BOTH, SINGLE, Credit, Measure, Metric, pairs_of
from toolrm_jax.evals.scores import Scores
from toolrm_jax.toolcalls.types import Candidate, Context, Group

UNREAD = 0
"""In place of a choice: the question is longer than the judge reads."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A context and two answers in the order shown. `id` names pair and order."""

    id: str
    context: Context
    first: Candidate
    second: Candidate


@dataclasses.dataclass(frozen=True, slots=True)
class PairJudge:
    """A name, and a function that answers every question with 1, 2, None where its reply held no choice, or UNREAD.

    It raises where it cannot be asked at all (a server that died): nothing is then scored.
    """

    name: str
    choose: Callable[[Sequence[Question]], list[int | None]]
    about: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """How many questions were asked, how many replies held no choice, and how many questions were not read."""

    questions: int
    no_choice: int
    unread: int

    @classmethod
    def of(cls, answers: Sequence[int | None]) -> Tally:
        """The tally of what a judge answered."""
        return cls(len(answers), answers.count(None), answers.count(UNREAD))

    @property
    def note(self) -> str:
        """As a clause for a result's note."""
        unread = f", {self.unread:,} were too long for the judge" if self.unread else ""
        return f"of {self.questions:,} questions {self.no_choice:,} were answered without a choice{unread}"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The credits of a pair judge under both metrics."""

    single: tuple[Credit, ...]
    both: tuple[Credit, ...]
    tally: Tally

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
    return Asked(tuple(single), tuple(both), Tally.of(answers))


def _questions(group: Group, a: int, b: int) -> tuple[Question, Question]:
    one, two = blind(group, (a, b)).candidates
    id, context = f"{group.task.id}/{a}/{b}", group.task.context
    return Question(f"{id}/12", context, one, two), Question(f"{id}/21", context, two, one)


def knockout(judge: PairJudge, groups: Sequence[Group]) -> tuple[Scores, Tally]:
    """Scores from knockouts among each group's answers: how many rounds each lasted, so that the winner has the most.

    The seeds are in the order in which every judge is shown answers, which knows nothing of right and wrong. Both
    orders are asked; where they disagree, or hold no choice, the earlier seed stays. Answers of a game that could not
    be read in either order leave unread. All groups play a round at once, so that a server is asked in large batches.
    Raises ConfigError where no group has two answers: there is nothing to compare.
    """
    if all(len(group.candidates) < 2 for group in groups):
        raise ConfigError(f"{judge.name} only compares answers, and these stand alone; give a judge that scores")
    orders = [shown_order(group) for group in groups]
    lasted: Scores = [[0.0] * len(order) for order in orders]
    left = [list(range(len(order))) for order in orders]
    told: list[int | None] = []
    round = 0.0
    while any(len(seeds) > 1 for seeds in left):
        round += 1
        games = [(g, a, b) for g, seeds in enumerate(left) for a, b in zip(seeds[::2], seeds[1::2])]
        answers = judge.choose(
            [question for g, a, b in games for question in _questions(groups[g], orders[g][a], orders[g][b])]
        )
        told += answers
        # The odd one out goes on without a game; it counts as won, or a later seed could never be first.
        on = [seeds[len(seeds) - len(seeds) % 2 :] for seeds in left]
        winners: list[list[int]] = [[] for _ in groups]
        for (g, a, b), first, second in zip(games, answers[::2], answers[1::2], strict=True):
            if first == second == UNREAD:
                lasted[g][a] = lasted[g][b] = None
            else:
                winners[g].append(b if (first, second) == (2, 1) else a)
        left = [won + free for won, free in zip(winners, on)]
        for seeds, row in zip(left, lasted):
            for seed in seeds:
                row[seed] = round
    scores = [[row[order.index(k)] for k in range(len(order))] for row, order in zip(lasted, orders)]
    return scores, Tally.of(told)
