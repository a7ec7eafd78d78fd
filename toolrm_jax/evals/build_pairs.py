"""FC-RewardBench and TRBench-BFCL built anew from recorded answers: which wrong answer stands under which right one.

`outcome`: one pair a question, error types in FC-RewardBench's shares as far as supply allows (method.md 2.1; the
paper does not say how one of several failing models was chosen: a seeded draw, by how many models gave the answer).
`agentic`: up to `per_question` pairs a question, of different models, error types as they come (TRBench-BFCL's way).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.graded import Answer, Graded
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType

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
OVER_CAP = "error type at its cap"
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
    cap: float = 0.55,
    shares: Mapping[ErrorType, float] = FCRB_SHARES,
) -> Built:
    """One pair a question. `without`: models left out; `cap`: the largest share of one error type among the pairs."""
    drops: Counter[str] = Counter()
    usable = list(_usable(_known(found, without), without, drops))
    chosen = _assign({g.task.id: _by_type(wrong) for g, _, wrong in usable}, shares, cap, seed, drops)
    pairs = []
    for graded, right, wrong in usable:
        if (kind := chosen.get(graded.task.id)) is not None:
            rng = seeded(seed, "pair of a question", graded.task.id)
            some = [one for one in wrong if one.verdict.error_type is kind]
            below = rng.choices(some, [len(one.models) for one in some])[0]
            pairs.append(Pair(graded, rng.choice(right), below))
    return Built(tuple(pairs), dict(drops))


def agentic(found: Iterable[Graded], per_question: int = 3, seed: int = 0, without: Collection[str] = ()) -> Built:
    """Up to `per_question` pairs a question, the reference over wrong answers of models that differ."""
    drops: Counter[str] = Counter()
    pairs = []
    for graded, right, wrong in _usable(_known(found, without), without, drops):
        rng = seeded(seed, "pairs of a question", graded.task.id)
        above = rng.choice(right)
        makers: set[str] = set()
        for one in rng.sample(wrong, len(wrong)):
            if len(makers) < per_question and one.models[0] not in makers:
                makers.add(one.models[0])
                pairs.append(Pair(graded, above, one))
    return Built(tuple(pairs), dict(drops))


def _usable(
    found: Iterable[Graded], without: Collection[str], drops: Counter[str]
) -> Iterable[tuple[Graded, list[Answer], list[Answer]]]:
    for graded in found:
        right = [one for answer in graded.right if (one := _less(answer, without))]
        wrong = [one for answer in graded.wrong if (one := _less(answer, without))]
        fair = [one for one in wrong if not (reason := debatable(graded, right, one)) or drops.update((reason,))]
        if right and fair:
            yield graded, right, fair
        else:
            drops[NO_WRONG if right else NO_RIGHT] += 1


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


def _by_type(wrong: Sequence[Answer]) -> set[ErrorType]:
    return {one.verdict.error_type for one in wrong}


def _assign(
    offered: Mapping[str, set[ErrorType]],
    shares: Mapping[ErrorType, float],
    cap: float,
    seed: int,
    drops: Counter[str],
) -> dict[str, ErrorType]:
    """An error type for each question: the scarce first, each up to its share; then what is left, up to the cap.

    A type that is short takes the questions that offer little else; last, questions change types along chains until
    no type can come nearer to its share.
    """
    total = sum(shares.values())
    wanted = {kind: round(len(offered) * part / total) for kind, part in shares.items()}
    supply = Counter(kind for kinds in offered.values() for kind in kinds)
    order = sorted(offered, key=lambda id: (seeded(seed, "order of questions", id).random(), id))
    chosen: dict[str, ErrorType] = {}
    for kind in sorted(wanted, key=lambda kind: (supply[kind] / max(1, wanted[kind]), str(kind))):
        free = [id for id in order if id not in chosen and kind in offered[id]]
        free.sort(key=lambda id: len(offered[id]))
        chosen.update(dict.fromkeys(free[: wanted[kind]], kind))
    counts = Counter(chosen.values())
    limit = int(cap * len(offered))
    for id in order:
        if id in chosen:
            continue
        kinds = [kind for kind in offered[id] if counts[kind] < limit]
        if not kinds:
            drops[OVER_CAP] += 1
            continue
        chosen[id] = max(kinds, key=lambda kind: (wanted.get(kind, 0) - counts[kind], str(kind)))
        counts[chosen[id]] += 1
    while path := _exchange(chosen, offered, wanted, order):
        for id, kind in path:
            chosen[id] = kind
    return chosen


def _exchange(
    chosen: Mapping[str, ErrorType],
    offered: Mapping[str, set[ErrorType]],
    wanted: Mapping[ErrorType, int],
    order: Sequence[str],
) -> list[tuple[str, ErrorType]]:
    """Questions to give another type, so that a type with too many has one less and one with too few one more.

    The shortest chain of such moves from one to the other; empty where none is left.
    """
    counts = Counter(chosen.values())
    moves: dict[ErrorType, dict[ErrorType, str]] = {}
    for id in order:
        if id in chosen:
            for kind in offered[id] - {chosen[id]}:
                moves.setdefault(chosen[id], {}).setdefault(kind, id)
    short = {kind for kind, count in wanted.items() if counts[kind] < count}
    chains = [(kind, []) for kind in sorted(counts) if counts[kind] > wanted.get(kind, 0)]
    seen = {kind for kind, _ in chains}
    while chains and short:
        grown = []
        for last, chain in chains:
            for kind, id in sorted(moves.get(last, {}).items()):
                if kind in seen:
                    continue
                seen.add(kind)
                longer = [*chain, (id, kind)]
                if kind in short:
                    return longer
                grown.append((kind, longer))
        chains = grown
    return []


def components(found: Iterable[Graded]) -> dict[str, int]:
    """A number for every question: the same for two that share a function, directly or through others."""
    owner: dict[str, str] = {}

    def root(name: str) -> str:
        while owner.setdefault(name, name) != name:
            owner[name] = owner[owner[name]]
            name = owner[name]
        return name

    ids = []
    for graded in found:
        ids.append(graded.task.id)
        for tool in graded.task.context.tools:
            owner[root(f"tool {tool.name}")] = root(graded.task.id)
    roots = {root(id): None for id in ids}
    numbers = {name: number for number, name in enumerate(roots)}
    return {id: numbers[root(id)] for id in ids}


def bfcl_form(calls: Sequence[Call]) -> list[dict[str, dict]]:
    """Calls as BFCL writes them: one-key maps."""
    return [{call.name: call.arguments} for call in calls]
