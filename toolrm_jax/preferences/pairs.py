"""Pairs, as a view of a group: one chosen, one rejected."""

import dataclasses
import math
from collections.abc import Iterator

from toolrm_jax.toolcalls.types import Candidate, Group, Reference, Task, Verdict

BINS = 10
"""Equal-width bins of preference intensity on (0, 1]; an edge belongs to the bin below it (method.md 4.13)."""
_DIGITS = 6  # an edge of a bin is met to so many digits: 1 − 0.7 is 0.30000000000000004


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two candidates of one task, the better one first, with their verdicts. `swapped`: see types.Choice."""

    task: Task
    chosen: Candidate
    rejected: Candidate
    chosen_verdict: Verdict
    rejected_verdict: Verdict
    swapped: bool = False

    @property
    def intensity(self) -> float:
        """Preference intensity s⁺ − s⁻ of the rule scores (paper B, section 3.4)."""
        return self.chosen_verdict.score - self.rejected_verdict.score


def pairs(group: Group) -> Iterator[Pair]:
    """The pairs that a recipe chose, or every right candidate over every wrong one where none did."""
    if not group.choices:
        yield from right_over_wrong(group)
    for choice in group.choices:
        members = [(group.candidates[place], group.verdicts[place]) for place in (choice.better, choice.worse)]
        (better, its), (worse, other) = members
        yield Pair(group.task, better, worse, its, other, choice.swapped)


def right_over_wrong(group: Group) -> Iterator[Pair]:
    """Every right candidate over every wrong one (paper A's pairs; the R×W of our loss)."""
    for pair in _ordered(group):
        if pair.chosen_verdict.right and not pair.rejected_verdict.right:
            yield pair


def higher_over_lower(group: Group) -> Iterator[Pair]:
    """Every ordered combination with s⁺ > s⁻ in rule score (paper B, section 3.3): neither side need be right."""
    for pair in _ordered(group):
        if pair.intensity > 0:
            yield pair


def intensity_bin(better: float, worse: float) -> int:
    """The bin of a pair's intensity, 0 to BINS − 1. The better score must be the higher one."""
    return min(BINS - 1, max(0, math.ceil(round((better - worse) * BINS, _DIGITS)) - 1))


def complexity(reference: Reference) -> int:
    """Number of calls of the reference plus that of all their arguments (paper B, section 3.4)."""
    return len(reference.calls) + sum(len(call.arguments) for call in reference.calls)


def _ordered(group: Group) -> Iterator[Pair]:
    members = list(zip(group.candidates, group.verdicts))
    for chosen, chosen_verdict in members:
        for rejected, rejected_verdict in members:
            yield Pair(group.task, chosen, rejected, chosen_verdict, rejected_verdict)
