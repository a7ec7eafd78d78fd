"""The verdict on a candidate: right or wrong by comparison with the reference, never by a model."""

from __future__ import annotations

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.matching import assign
from toolrm_jax.toolcalls.score import rule_score
from toolrm_jax.toolcalls.taxonomy import classify
from toolrm_jax.toolcalls.types import Candidate, ErrorType, Task, Verdict


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
        right = len(candidate.calls) == len(reference.calls) and None not in assign(reference, candidate.calls)
    except DataError as error:
        return Verdict(False, 0.0, ErrorType.FORMAT, str(error))
    if right:
        return Verdict(True, 1.0, None, "every call is accepted" if reference.calls else "no call, as is right")
    error_type, reason = classify(task.context.tools, reference, candidate.calls)
    return Verdict(False, rule_score(candidate, reference.calls).score, error_type, reason)
