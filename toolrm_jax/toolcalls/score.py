"""The rule score of paper B: how much of the reference's calls a candidate got right (method.md 3.2, section 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.equality import canonical
from toolrm_jax.toolcalls.types import Call, Candidate

COUNT_MISMATCH = "count_mismatch"
DUPLICATE_CALL = "duplicate_call"
PARSE_ERROR = "parse_error"
SCORED = "scored"


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """A rule score in [0, 1] and which rule gave it: one of the four reasons above."""

    score: float
    reason: str


def rule_score(candidate: Candidate | Sequence[Call], reference: Sequence[Call], fold_case: bool = True) -> Scored:
    """Score `candidate` against the reference's calls.

    A candidate with a fault scores 0, and so does one with another number of calls or with two identical ones.
    Otherwise the mean over reference calls of the best overlap of arguments among the candidate's calls of that
    name: keys with equal value over keys in either, 1 where both have none. Not one-to-one: a candidate call may
    serve two reference calls. No reference calls: 1 iff the candidate makes none. Text is never looked at.
    """
    if isinstance(candidate, Candidate):
        if candidate.fault is not None:
            return Scored(0.0, PARSE_ERROR)
        candidate = candidate.calls
    if len(candidate) != len(reference):
        return Scored(0.0, COUNT_MISMATCH)
    if not reference:
        return Scored(1.0, SCORED)
    try:
        ours = [(call.name, _pairs(call.arguments, fold_case)) for call in candidate]
    except DataError:
        return Scored(0.0, PARSE_ERROR)
    if len(set(ours)) != len(ours):
        return Scored(0.0, DUPLICATE_CALL)
    total = 0.0
    for call in reference:
        wanted = _pairs(call.arguments, fold_case)
        total += max((_overlap(given, wanted) for name, given in ours if name == call.name), default=0.0)
    return Scored(total / len(reference), SCORED)


def _pairs(arguments: dict[str, Any], fold_case: bool) -> frozenset[tuple[str, Hashable]]:
    return frozenset([(key, canonical(value, fold_case)) for key, value in arguments.items()])


def _overlap(given: frozenset, wanted: frozenset) -> float:
    if given == wanted:
        return 1.0
    return len(given & wanted) / len({key for key, _ in given} | {key for key, _ in wanted})
