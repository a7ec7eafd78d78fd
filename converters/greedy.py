"""Whether an engine's greedy tokens are ours, and how near the two were where they part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True, slots=True)
class Parting:
    """The first token of an answer that is not the one we choose.

    gap: how far its logit stands below that of ours. Beyond it the two have read different tokens, so nothing more
    is to be compared.
    """

    prompt: int
    at: int
    ours: int
    theirs: int
    gap: float

    def __str__(self) -> str:
        return f"prompt {self.prompt}, token {self.at}: {self.theirs} for {self.ours}, {self.gap:.1e} below it"


def parting(
    prompt: int, logits: Float[np.ndarray, "N V"], theirs: Int[np.ndarray, " N"] | Sequence[int]
) -> Parting | None:
    """Where the tokens leave those of highest logit; None where all are the same.

    logits: ours for each of the N tokens, given the prompt and *their* tokens before it: up to the first that differs
    these are our own.
    """
    assert len(logits) == len(theirs), (logits.shape, len(theirs))
    ours = logits.argmax(axis=-1)
    differ = np.flatnonzero(ours != np.asarray(theirs))
    if not len(differ):
        return None
    at = int(differ[0])
    chosen, given = int(ours[at]), int(theirs[at])
    return Parting(prompt, at, chosen, given, float(logits[at, chosen] - logits[at, given]))


def gap_change(exact: Float[np.ndarray, "N V"], rounded: Float[np.ndarray, "N V"]) -> float:
    """How far rounding moves the two highest logits against each other, at most: what can swap a near tie."""
    first, second = np.argsort(exact, axis=-1)[:, -1], np.argsort(exact, axis=-1)[:, -2]
    at = np.arange(len(exact))
    moved = (rounded[at, first] - rounded[at, second]) - (exact[at, first] - exact[at, second])
    return float(np.abs(moved).max())


def spread(logits: Float[np.ndarray, "N V"]) -> float:
    """Standard deviation of a position's logits, the largest of all positions: what a gap is measured against."""
    return float(logits.std(axis=-1).max())
