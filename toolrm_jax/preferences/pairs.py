"""Pairs, as a view of a group: one chosen, one rejected."""

import dataclasses
from collections.abc import Iterator

from toolrm_jax.toolcalls.types import Candidate, Group, Task, Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two candidates of one task, the better one first, with their verdicts."""

    task: Task
    chosen: Candidate
    rejected: Candidate
    chosen_verdict: Verdict
    rejected_verdict: Verdict

    @property
    def intensity(self) -> float:
        """Preference intensity s⁺ − s⁻ of the rule scores (paper B, section 3.4)."""
        return self.chosen_verdict.score - self.rejected_verdict.score


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


def _ordered(group: Group) -> Iterator[Pair]:
    members = list(zip(group.candidates, group.verdicts))
    for chosen, chosen_verdict in members:
        for rejected, rejected_verdict in members:
            yield Pair(group.task, chosen, rejected, chosen_verdict, rejected_verdict)
