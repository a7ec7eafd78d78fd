"""Wrong answers made by rule, each wrong by `judge`, after those of real models; and right ones beside the reference.

A mistake starts from a right answer, not always the reference itself, so that neither the order of arguments nor an
optional value tells right from wrong; and whether it comes out longer or shorter is tossed for, so that length does not
either.
"""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Sequence

from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.compare import error_of
from toolrm_jax.toolcalls.conversation import Conversation, read_conversation
from toolrm_jax.toolcalls.equality import multiset
from toolrm_jax.toolcalls.matching import OMITTED
from toolrm_jax.toolcalls.mistake_calls import EDITS, Scene
from toolrm_jax.toolcalls.mistake_repeats import repeated
from toolrm_jax.toolcalls.mistake_texts import reply_without_call
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Reference, Task, Tool

SHARES = {
    ErrorType.VALUE: 43,
    ErrorType.NAME: 22,
    ErrorType.NUMBER: 18,
    ErrorType.TYPE: 5,
    ErrorType.MISSING_REQUIRED: 4,
    ErrorType.MISSING_OPTIONAL: 4,
    ErrorType.UNEXPECTED: 2,
    ErrorType.FORMAT: 2,
}
"""How often each kind is tried: near FC-RewardBench's shares, of the rare ones rather more."""
REFERENCE_FIRST = 0.2
"""How often a mistake starts from the reference itself, and a group's first right answer is it (preferences/groups.py);
else from any right variant, the reference among them. Real answers differ in optional values, wording and order whether
right or wrong: what is seldom the reference's own form teaches that this form is no sign of right."""
REPEATED = 0.6
"""Share of mistakes in answers of several calls that are made in more than one of them. On BFCL's live questions 14 of
the 25 wrong answers of real models with the right number of calls, two or more, have several calls wrong, most of them
in the same parameter. What is wrong everywhere is not told by calls that differ among themselves."""
SECOND_EDIT = 0.15  # share of mistakes with more than one thing wrong
LONGER = 0.4  # share that should come out longer than what it was made from; some edits can only add, so below half
_REPEATABLE = frozenset(SHARES) - {ErrorType.NUMBER, ErrorType.FORMAT}
_TRIES = 6  # per mistake of a kind, to find one of the length wanted
_ROUNDS = 12  # kinds drawn per mistake before giving up


def make_mistakes(
    task: Task,
    seed: int,
    count: int,
    kinds: Sequence[ErrorType] | None = None,
    epoch: int = 0,
    neighbours: Sequence[Tool] = (),
) -> tuple[Candidate, ...]:
    """Up to `count` distinct wrong candidates for a task with a reference, drawn by (seed, task id, epoch).

    `kinds` are drawn from evenly; None draws by SHARES. A kind that the task has no place for gives way to another.
    `neighbours` are tools of other tasks, to call by mistake. Fewer come back where the task allows no more.
    `maker` is `rule:<kind>`, with `+` where a second edit followed. Raises DataError without a reference.
    """
    reference = task.reference
    if reference is None:
        raise DataError(f"task {task.id}: has no reference to make mistakes from; drop it or give it one")
    if count < 1:
        return ()
    rng = seeded(seed, "mistakes", task.id, epoch)
    scene = Scene(task.context.tools, reference, read_conversation(task.context), neighbours)
    reference_itself = _itself(reference)
    bases: tuple[Candidate, ...] = ()  # made when first asked for
    shares = dict(SHARES) if kinds is None else dict.fromkeys(kinds, 1)
    if not reference.calls:
        shares = {ErrorType.NUMBER: 1}
    made: list[Candidate] = []
    seen: set[Hashable] = set()
    failed: dict[ErrorType, int] = dict.fromkeys(shares, 0)
    for _ in range(count * _ROUNDS):
        if len(made) == count or not failed:
            break
        kind = rng.choices(list(failed), [shares[kind] for kind in failed])[0]
        base = reference_itself
        if rng.random() >= REFERENCE_FIRST:
            bases = bases or _right_variants(task, seed, 4, scene.said)
            base = rng.choice(bases)
        candidate = _mistake(rng, task, scene, kind, base, seen)
        if candidate is None:
            failed[kind] += 1
            if failed[kind] > 2:
                del failed[kind]
            continue
        seen.add(_identity(candidate))
        made.append(candidate)
    return tuple(made)


def _mistake(
    rng: random.Random, task: Task, scene: Scene, kind: ErrorType, base: Candidate, seen: set[Hashable]
) -> Candidate | None:
    """One new wrong candidate of a kind, of the length tossed for where a few tries give it."""
    longer = rng.random() < LONGER
    twice = rng.random() < SECOND_EDIT and kind is not ErrorType.FORMAT
    often = len(base.calls) > 1 and kind in _REPEATABLE and rng.random() < REPEATED
    start = length(base)
    best = None
    for _ in range(_TRIES):
        candidate = repeated(EDITS[kind], rng, scene, base.calls) if often else EDITS[kind](rng, scene, base.calls)
        if candidate is None or _identity(candidate) in seen or error_of(task, candidate) is not kind:
            continue
        mark = ""
        if twice and candidate.calls:
            other = rng.choice([ErrorType.VALUE, ErrorType.VALUE, ErrorType.UNEXPECTED, ErrorType.TYPE])
            second = EDITS[other](rng, scene, candidate.calls)
            if second is not None and _identity(second) not in seen and error_of(task, second) is not None:
                candidate, mark = second, "+"
        name = kind.name.lower()
        best = Candidate(candidate.calls, candidate.text, f"rule:{name}{mark}", candidate.raw, candidate.fault)
        change = length(best) - start
        if change == 0 or (change > 0) == longer:
            return best
    return best


def _identity(candidate: Candidate) -> Hashable:
    """What makes a mistake another one: its calls, so that one reply without calls is enough, or a broken text."""
    if candidate.fault is not None:
        return candidate.raw
    return multiset(candidate.calls)


def length(candidate: Candidate) -> int:
    """Characters of the response, but for the tags around each call."""
    if candidate.raw is not None:
        return len(candidate.raw)
    return len(candidate.text) + sum(len(call.name) + len(json.dumps(call.arguments)) + 28 for call in candidate.calls)


def right_variants(task: Task, seed: int, count: int) -> tuple[Candidate, ...]:
    """Up to `count` distinct right candidates, the reference first.

    The others take other accepted values, give or leave out what is optional, and write arguments (and calls, where
    their order is free) in another order; where no call is right, they are replies in words.
    Raises DataError where the task has no reference.
    """
    reference = task.reference
    if reference is None:
        raise DataError(f"task {task.id}: has no reference to vary; drop it or give it one")
    return _right_variants(task, seed, count, None if reference.calls else read_conversation(task.context))


def _right_variants(task: Task, seed: int, count: int, said: Conversation | None) -> tuple[Candidate, ...]:
    reference = task.reference
    rng = seeded(seed, "right variants", task.id)
    made = [_itself(reference)]
    seen = {_written(made[0])}
    for _ in range(4 * count):
        if len(made) >= count:
            break
        if reference.calls:
            candidate = Candidate(_vary(rng, reference), "", "rule:right")
        else:
            candidate = Candidate((), reply_without_call(rng, said, tools=task.context.tools, fits=True), "rule:right")
        written = _written(candidate)
        if written not in seen and error_of(task, candidate) is None:
            seen.add(written)
            made.append(candidate)
    return tuple(made[:count])


def _itself(reference: Reference) -> Candidate:
    return Candidate(reference.calls, reference.text or "", "reference")


def _written(candidate: Candidate) -> str:
    return json.dumps([[call.name, call.arguments] for call in candidate.calls] or candidate.text)


def _vary(rng: random.Random, reference: Reference) -> tuple[Call, ...]:
    calls = []
    alike = {call.name: rng.random() for call in reference.calls} if rng.random() < REPEATED else {}
    order = rng
    for i, call in enumerate(reference.calls):
        arguments = dict(call.arguments)
        rng = random.Random(alike[call.name]) if alike else order  # calls of one tool come out in one form
        if reference.accepted:
            for name, values in reference.accepted[i].items():
                real = [value for value in values if value != OMITTED]
                if OMITTED in values and rng.random() < 0.3:
                    if real and name not in arguments:
                        arguments[name] = real[0]
                    else:
                        arguments.pop(name, None)
                elif len(real) > 1 and name in arguments and rng.random() < 0.4:
                    arguments[name] = rng.choice(real)
        if rng.random() < 0.5:
            arguments = dict(sorted(arguments.items(), key=lambda item: rng.random()))
        calls.append(Call(call.name, arguments))
    if not reference.ordered and order.random() < 0.5:
        order.shuffle(calls)
    return tuple(calls)
