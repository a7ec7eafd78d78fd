"""FC-RewardBench and TRBench-BFCL built anew from recorded answers: which wrong answer stands under which right one.

`outcome`: one pair a question, error types in FC-RewardBench's shares as far as supply allows (method.md 2.1; the
paper does not say how one of several failing models was chosen: a seeded draw, by how many models gave the answer).
`agentic`: up to `per_question` pairs a question, of different models, error types as they come (TRBench-BFCL's way).
In both the right answer is a seeded draw of those that models gave and BFCL accepts, so that it has no style of its
own, and BFCL's own, which the papers have throughout, only where no model was right.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.build_shares import assign, draw_under_cap
from toolrm_jax.evals.trbench import CATEGORIES
from toolrm_jax.preferences import split
from toolrm_jax.seeding import seeded
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_outputs import Answer, Graded, own_answer
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Reference, Task

FCRB_SHARES = {
    ErrorType.VALUE: 650,
    ErrorType.NAME: 403,
    ErrorType.NUMBER: 245,
    ErrorType.MISSING_OPTIONAL: 78,
    ErrorType.MISSING_REQUIRED: 45,
    ErrorType.TYPE: 43,
    ErrorType.UNEXPECTED: 21,
    ErrorType.FORMAT: 15,
}
"""FC-RewardBench's 1,500 items by error type (its dataset card)."""

NO_RIGHT, NO_WRONG = "no right answer recorded", "no wrong answer recorded"
YEAR, PLACE = "debatable: only the year differs and the question has none", "debatable: only a state or country suffix"
OVER_CAP, OTHER_CATEGORY = "error type at its cap", "category that the benchmark does not have"
OUTCOME_CAP, PER_QUESTION = 0.55, 3
DEV, TEST = "dev", "test"
_YEAR = re.compile(r"\b(?:1[89]|20)\d\d\b")
_ANY_YEAR = re.compile(r"\b\d{4}\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A question with the two answers drawn for it."""

    graded: Graded
    right: Answer
    wrong: Answer


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """The pairs in the questions' order, and what was left out under which reason."""

    pairs: tuple[Pair, ...]
    drops: dict[str, int]


def outcome(
    found: Iterable[Graded],
    seed: int = 0,
    without: Collection[str] = (),
    cap: float = OUTCOME_CAP,
    shares: Mapping[ErrorType, float] = FCRB_SHARES,
) -> Built:
    """One pair a question, of those where calls are right. `without`: models left out.

    `cap`: the largest share of one error type among the pairs. Raises ConfigError where it cannot be kept.
    """
    drops: Counter[str] = Counter()
    usable = list(_usable(_known(found, without), without, bfcl.ANSWERED, drops))
    offered = {graded.task.id: {one.verdict.error_type for one in wrong} for graded, _, wrong in usable}
    chosen = assign(offered, shares, cap, seed)
    if fewer := len(offered) - len(chosen):
        drops[OVER_CAP] = fewer
    pairs = []
    for graded, right, wrong in usable:
        if (kind := chosen.get(graded.task.id)) is not None:
            rng = seeded(seed, "pair of a question", graded.task.id)
            below = rng.choice(_by_model([one for one in wrong if one.verdict.error_type is kind]))
            pairs.append(Pair(graded, rng.choice(right), below))
    return Built(tuple(pairs), dict(drops))


def agentic(
    found: Iterable[Graded],
    per_question: int = PER_QUESTION,
    seed: int = 0,
    without: Collection[str] = (),
    cap: float = 1.0,
    turns: Iterable[Pair] = (),
) -> Built:
    """Up to `per_question` pairs a question of TRBench-BFCL's categories, with wrong answers of models that differ.

    `turns`: pairs of multi-turn runs that join them; `without` and `cap` as in `outcome`, over all of them.
    """
    drops: Counter[str] = Counter()
    questions, turns = list(found), list(turns)
    _known([*questions, *(pair.graded for pair in turns)], without)
    pairs = []
    for graded, right, wrong in _usable(questions, without, CATEGORIES, drops):
        rng = seeded(seed, "pairs of a question", graded.task.id)
        above = rng.choice(right)
        drawn: list[Answer] = []
        some = _by_model(wrong)
        for one in rng.sample(some, len(some)):
            again = any(one.candidate is other.candidate or one.models[0] == other.models[0] for other in drawn)
            if len(drawn) < per_question and not again:
                drawn.append(one)
        pairs += [Pair(graded, above, one) for one in drawn]
    pairs += _fair(turns, without, drops)
    kept = draw_under_cap([pair.wrong.verdict.error_type for pair in pairs], cap, seed)
    if fewer := len(pairs) - len(kept):
        drops[OVER_CAP] = fewer
    return Built(tuple(pairs[place] for place in kept), dict(drops))


def sides(built: Built, dev: float, seed: int) -> dict[str, Built]:
    """`dev` with at most that share of the questions, and `test`: no function and no question is in both.

    Raises ConfigError for a share of none, or where no part of the questions that hangs together is so small.
    """
    if not 0 < dev < 1:
        raise ConfigError(f"dev={dev}: give a share of the questions above 0 and below 1, or leave it out")
    apart = {task.id for task in split.split(_tasks(built.pairs), dev, seed)[1]}
    found = {
        name: Built(tuple(pair for pair in built.pairs if (pair.graded.task.id in apart) is (name == DEV)), built.drops)
        for name in (DEV, TEST)
    }
    if not found[DEV].pairs:
        raise ConfigError(f"dev={dev}: all parts of the questions that share functions are larger; give more")
    return found


def components(pairs: Iterable[Pair]) -> dict[str, int]:
    """A number for every question: the same for two that share a function called, directly or through others."""
    return {task.id: number for number, some in enumerate(split.components(_tasks(pairs))) for task in some}


def _tasks(pairs: Iterable[Pair]) -> list[Task]:
    """Every question once, with the right calls of all its pairs: those of runs can stand at different turns."""
    found: dict[str, Task] = {}
    for pair in pairs:
        task, calls = pair.graded.task, pair.right.candidate.calls
        known = found.get(task.id)
        before = known.reference.calls if known is not None else ()
        found[task.id] = dataclasses.replace(known or task, reference=Reference((*before, *calls)), stale=())
    return list(found.values())


def _usable(
    found: Iterable[Graded], without: Collection[str], categories: Collection[str], drops: Counter[str]
) -> Iterator[tuple[Graded, list[Answer], list[Answer]]]:
    for graded in found:
        if graded.task.category not in categories:
            drops[OTHER_CATEGORY] += 1
            continue
        right = [one for answer in graded.right if (one := _less(answer, without))]
        if not right and (own := own_answer(graded.task)) is not None:
            right = [own]
        wrong = [one for answer in graded.wrong if (one := _less(answer, without))]
        fair = [one for one in wrong if not (reason := debatable(graded, right, one)) or drops.update((reason,))]
        if right and fair:
            yield graded, right, fair
        else:
            drops[NO_WRONG if right else NO_RIGHT] += 1


def _by_model(answers: Iterable[Answer]) -> list[Answer]:
    """Each answer once for every model that gave it, that one first: what many gave is drawn so much likelier."""
    return [
        dataclasses.replace(answer, models=(model, *(other for other in answer.models if other != model)))
        for answer in answers
        for model in answer.models
    ]


def _fair(turns: Iterable[Pair], without: Collection[str], drops: Counter[str]) -> Iterator[Pair]:
    """The pairs of runs whose wrong answer is of a model that stays, and not debatable."""
    for pair in turns:
        if (wrong := _less(pair.wrong, without)) is None:
            continue
        if reason := debatable(pair.graded, [pair.right], wrong):
            drops[reason] += 1
        else:
            yield dataclasses.replace(pair, wrong=wrong)


def _known(found: Iterable[Graded], without: Collection[str]) -> list[Graded]:
    """The questions. Raises ConfigError for a model to leave out that gave no answer."""
    graded = list(found)
    if without:
        models = {model.partition("@")[0] for one in graded for answer in one.answers for model in answer.models}
        for name in without:
            if name not in models:
                near = difflib.get_close_matches(name, models, n=1, cutoff=0.3) or sorted(models)[:1]
                raise ConfigError(f"without={name}: no answer is of that model; there is {', '.join(near)}")
    return graded


def _less(answer: Answer, without: Collection[str]) -> Answer | None:
    models = tuple(model for model in answer.models if model.partition("@")[0] not in without)
    return dataclasses.replace(answer, models=models) if models else None


def debatable(graded: Graded, right: Sequence[Answer], wrong: Answer) -> str | None:
    """Why nobody could tell from the context that this answer is wrong, or None."""
    asked = " ".join(message.content for message in graded.task.context.messages)
    for above in right:
        differing = _differing(above.candidate, wrong.candidate)
        if not differing:
            continue
        if not _ANY_YEAR.search(asked) and all(_YEAR.search(a) and _same_but_year(a, b) for a, b in differing):
            return YEAR
        if all(_place_suffix(a, b) for a, b in differing):
            return PLACE
    return None


def _differing(one: Candidate, two: Candidate) -> list[tuple[str, str]]:
    """The values that differ, where the calls differ in values alone and those are texts; else none."""
    if one.fault or two.fault or [c.name for c in one.calls] != [c.name for c in two.calls]:
        return []
    found = []
    for a, b in zip(one.calls, two.calls):
        if a.arguments.keys() != b.arguments.keys():
            return []
        for name, value in a.arguments.items():
            if value != b.arguments[name]:
                if not isinstance(value, str) or not isinstance(b.arguments[name], str):
                    return []
                found.append((value, b.arguments[name]))
    return found


def _same_but_year(one: str, two: str) -> bool:
    return bool(_YEAR.search(two)) and _YEAR.sub("", one) == _YEAR.sub("", two)


def _place_suffix(one: str, two: str) -> bool:
    """`Berkeley` and `Berkeley, CA`: one is the other with something after a comma."""
    short, long = sorted((one.strip().lower(), two.strip().lower()), key=len)
    return short != long and long.startswith(f"{short},")


def bfcl_form(calls: Sequence[Call]) -> list[dict[str, dict]]:
    """Calls as BFCL writes them: one-key maps."""
    return [{call.name: call.arguments} for call in calls]
