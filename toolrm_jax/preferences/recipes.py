"""How one task becomes a group, after each of the two papers.

Both take rule-made mistakes and models' answers for wrong; what differs is who stands on the chosen side, which tasks
are kept, and whether names are obfuscated. Every choice is seeded by the task's id; wrong answers and names also by the
epoch of training that the group is for, so that each epoch has its own of both.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.cut_off import whole_answers
from toolrm_jax.preferences.groups import FAULTY, NO_REFERENCE, NO_WRONG, unlike
from toolrm_jax.preferences.makers import REFUSED, Makers, may_train
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import candidate_key, multiset
from toolrm_jax.toolcalls.mistake_turns import has_turns, make_turn_mistakes
from toolrm_jax.toolcalls.mistakes import make_mistakes
from toolrm_jax.toolcalls.obfuscate import obfuscate
from toolrm_jax.toolcalls.types import Candidate, ErrorType, Group, Task, Verdict

TOO_EASY = "too easy: every sampled answer scores 1"
TOO_HARD = "too hard: no sampled answer scores 1"
NOT_SAMPLED = "no call is right, beyond their sample"
WITHOUT_CALL = 2
"""Rule-made mistakes of a task where no call is right, at most."""
Member = tuple[Candidate, Verdict]

__all__ = ["FAULTY", "NO_REFERENCE", "NO_WRONG", "Balanced", "Left", "Outcome", "balanced_group", "outcome_group"]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Paper A's groups: the reference is the one right answer, beside up to `wrong` distinct wrong ones.

    mistakes: rule-made ones drawn, before the choice among them. turns: of these, at most so many that need a
    conversation. obfuscated: share of the groups whose names become random strings, True for all. no_call: share of the
    tasks without a call that are looked at, since few of them are used. makers: whose real answers are taken.
    """

    wrong: int = 3
    mistakes: int = 3
    turns: int = 1
    obfuscated: bool | float = True
    no_call: float = 1.0
    makers: Makers = Makers.PERMISSIVE

    def __post_init__(self) -> None:
        _check(self, wrong=1, mistakes=0, turns=0, no_call=0, obfuscated=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Balanced:
    """Paper B's groups: the reference and every distinct sampled answer, with rule scores.

    mistakes, turns, no_call, makers: as in `Outcome`. Rules stand in where a task has no real answer.
    """

    mistakes: int = 4
    turns: int = 2
    no_call: float = 1.0
    makers: Makers = Makers.PERMISSIVE

    def __post_init__(self) -> None:
        _check(self, mistakes=1, turns=0, no_call=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """Why a task gave no group."""

    reason: str


def outcome_group(
    task: Task, answers: Sequence[Candidate], recipe: Outcome, seed: int, changes: Counter[str], epoch: int = 0
) -> Group | Left:
    """Paper A (method.md 2.2, and section 4, items 18 to 21).

    Wrong is what differs from the reference as a multiset of calls, letter for letter; the order of calls is no
    difference. Where a source lists several accepted answers, those are not wrong either.
    """
    if left := _not_used(task, recipe.no_call, seed):
        return left
    real = _answers(answers, recipe.makers, changes)
    wanted = multiset(task.reference.calls, fold_case=False)
    seen = {("calls", wanted)}
    wrong: list[Member] = []
    for candidate in (*real, *_made(task, recipe.mistakes, recipe.turns, seed, epoch)):
        key = candidate.raw if candidate.fault is not None else ("calls", multiset(candidate.calls, fold_case=False))
        if key in seen:
            changes["candidates merged"] += 1
            continue
        seen.add(key)
        verdict = judge(task, candidate)
        if verdict.right and not task.reference.accepted:
            verdict = Verdict(False, verdict.score, ErrorType.VALUE, "a string differs in letter case")
        if not verdict.right:
            wrong.append((candidate, verdict))
    if not wrong:
        return Left(NO_WRONG)
    order = seeded(seed, "wrong answers", task.id, epoch).sample(wrong, len(wrong))
    chosen = unlike(order, recipe.wrong)
    members = [(_reference(task), Verdict(True, 1.0, None, "the reference")), *chosen]
    group = Group(task, *zip(*members), epoch=epoch)
    hidden = seeded(seed, "obfuscated", task.id, epoch).random() < recipe.obfuscated
    return obfuscated(group, seed, changes) if hidden else group


def balanced_group(
    task: Task, answers: Sequence[Candidate], recipe: Balanced, seed: int, changes: Counter[str], epoch: int = 0
) -> Group | Left:
    """Paper B (method.md 3.2, 3.3, and section 4, items 1 to 12): all answers with a score, if the task is of use.

    A task with real answers is kept only if one of them, but not all, scores 1; the reference is not counted. Rules
    make nothing but mistakes, so that a task without real answers needs only one of these.
    """
    if left := _not_used(task, recipe.no_call, seed):
        return left
    real = _answers(answers, recipe.makers, changes)
    sampled = real or _made(task, recipe.mistakes, recipe.turns, seed, epoch)
    reference = _reference(task)
    members = _merged(task, sampled, changes)
    scores = [verdict.score for _, verdict in members.values()]
    if real and min(scores) == 1:
        return Left(TOO_EASY)
    if real and max(scores) < 1:
        return Left(TOO_HARD)
    same = candidate_key(reference)
    others = [member for key, member in members.items() if key != same]
    changes["answers like the reference"] += len(members) - len(others)
    if not others or min(verdict.score for _, verdict in others) == 1:
        return Left(NO_WRONG)
    return Group(task, *zip((reference, judge(task, reference)), *others), epoch=epoch)


def obfuscated(group: Group, seed: int, changes: Counter[str]) -> Group:
    """The group under random names, with the map that brings the names back. Raises DataError as `obfuscate` does."""
    task, renaming = obfuscate(group.task, seed, group.candidates, group.epoch)
    renaming = renaming.with_names_of([call for candidate in group.candidates for call in candidate.calls])
    changes["names left in texts"] += renaming.described
    verdicts = tuple(
        dataclasses.replace(verdict, reason=renaming.apply_reason(verdict.reason)) for verdict in group.verdicts
    )
    candidates = tuple(map(renaming.apply_candidate, group.candidates))
    return Group(task, candidates, verdicts, group.choices, dict(renaming.names), group.epoch)


def _not_used(task: Task, no_call: float, seed: int) -> Left | None:
    if task.reference is None:
        return Left(NO_REFERENCE)
    if no_call < 1 and not task.reference.calls and seeded(seed, "no call", task.id).random() >= no_call:
        return Left(NOT_SAMPLED)
    return None


def _answers(answers: Sequence[Candidate], makers: Makers, changes: Counter[str]) -> list[Candidate]:
    """Those that may train and came to their end, in an order of their own."""
    kept = [answer for answer in answers if may_train(answer.maker, makers)]
    changes[REFUSED] += len(answers) - len(kept)
    return sorted(whole_answers(kept, changes), key=lambda answer: json.dumps(answer.to_json()))


def _made(task: Task, count: int, turns: int, seed: int, epoch: int) -> tuple[Candidate, ...]:
    """Rule-made mistakes: first those of conversations, where there is one, then the others up to the count.

    Where no call is right there is one way to be wrong, to call, and all such answers score 0: a few are enough.
    """
    if not task.reference.calls:
        count = min(count, WITHOUT_CALL)
    of_turns = make_turn_mistakes(task, seed, min(turns, count), epoch=epoch) if turns and has_turns(task) else ()
    return (*of_turns, *make_mistakes(task, seed, count - len(of_turns), epoch=epoch))


def _merged(task: Task, candidates: Iterable[Candidate], changes: Counter[str]) -> dict[Hashable, Member]:
    """Each distinct candidate once, by its key, with its verdict (item 12)."""
    found: dict[Hashable, Member] = {}
    for candidate in candidates:
        key = candidate_key(candidate)
        if key in found:
            changes["candidates merged"] += 1
        else:
            found[key] = (candidate, judge(task, candidate))
    return found


def _reference(task: Task) -> Candidate:
    return Candidate(task.reference.calls, task.reference.text or "", "reference")


def _check(recipe: Outcome | Balanced, **lowest: int) -> None:
    for name, low in lowest.items():
        if not (value := getattr(recipe, name)) >= low:
            raise ConfigError(f"{name}={value}: give at least {low}")
    for name in ("no_call", "obfuscated"):
        if not (share := getattr(recipe, name, 0)) <= 1:
            raise ConfigError(f"{name}={share}: is a share; give 0 to 1")
