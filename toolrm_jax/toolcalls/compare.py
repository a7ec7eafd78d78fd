"""The verdict on a candidate: right or wrong by comparison with the reference, never by a model."""

from __future__ import annotations

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.matching import assign
from toolrm_jax.toolcalls.score import rule_score
from toolrm_jax.toolcalls.taxonomy import fault_of
from toolrm_jax.toolcalls.types import Candidate, ErrorType, Reference, Task, Verdict


def error_of(task: Task, candidate: Candidate) -> ErrorType | None:
    """What `judge` says of the kind of error, None for a right candidate, without working out score and reason."""
    reference = task.reference
    if candidate.fault is not None:
        return ErrorType.FORMAT
    try:
        found = _found(reference, candidate)
    except DataError:
        return ErrorType.FORMAT
    return None if _is_right(found) else fault_of(task.context.tools, reference, candidate.calls, found).kind


def judge(task: Task, candidate: Candidate) -> Verdict:
    """Compare strictly: as many calls as the reference, each accepted by one of its calls, one to one.

    Call order counts only where the reference is ordered. A value is right if it equals (equality.py) an accepted
    one; a parameter may be left out only if the empty string is accepted; others than the reference's are wrong.
    Without reference calls a candidate is right iff it makes none. A candidate with a fault is wrong (FORMAT).
    `score` is the rule score against the reference's calls, 1 for a right candidate.
    Raises DataError where the task has no reference.
    """
    reference = task.reference
    if reference is None:
        raise DataError(f"task {task.id}: has no reference to compare with; drop it or give it one")
    if candidate.fault is not None:
        return Verdict(False, 0.0, ErrorType.FORMAT, " ".join(candidate.fault.split()))
    try:
        found = _found(reference, candidate)
    except DataError as error:
        return Verdict(False, 0.0, ErrorType.FORMAT, str(error))
    if _is_right(found):
        return Verdict(True, 1.0, None, "every call is accepted" if reference.calls else "no call, as is right")
    fault = fault_of(task.context.tools, reference, candidate.calls, found)
    return Verdict(False, rule_score(candidate, reference.calls).score, fault.kind, fault.reason)


def _found(reference: Reference, candidate: Candidate) -> list[int | None] | None:
    """`matching.assign`, or None where the candidate has another number of calls."""
    return assign(reference, candidate.calls) if len(candidate.calls) == len(reference.calls) else None


def _is_right(found: list[int | None] | None) -> bool:
    return found is not None and None not in found
