"""How far an engine's scores stand from ours, and what it does to them where they do not agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from toolrm_jax.errors import ModelError

# Scores changed in a known way are what that makes of ours, but for rounding (bfloat16's is near a hundredth), and
# stand much nearer to that than to ours: else a small difference of any kind would pass for a small bias.
_ROUNDING, _NEARER = 0.02, 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """Differences relative to the root mean square of our scores, and the share of candidate pairs ordered alike.

    Pairs are of one conversation; those that stand so near in our scores that rounding alone may turn them are ties.
    """

    largest: float
    median: float
    ordered_alike: float
    pairs: int
    ties: int

    def __str__(self) -> str:
        ranks = f"{self.ordered_alike:.1%} of {self.pairs} pairs ordered alike" if self.pairs else "no pairs"
        near = f" ({self.ties} near ties left out)" if self.ties else ""
        return f"largest difference {self.largest:.1e}, median {self.median:.1e}, {ranks}{near}"


def agreement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], rounding: float = 0.0) -> Agreement:
    """Compare scores, per conversation one array of its candidates'. Raises ModelError for one that is not finite.

    rounding: how far one score may be off, in the unit of the differences. It is known before the engine is asked: were
    it taken from what the engine gives, the worse that is, the fewer pairs would be left to show it.
    """
    a, b = (np.concatenate([np.asarray(part, np.float64) for part in side]) for side in (ours, theirs))
    assert a.shape == b.shape, (a.shape, b.shape)
    if not np.isfinite(b).all():
        raise ModelError(f"score {int(np.argmin(np.isfinite(b)))} of the engine is {b[~np.isfinite(b)][0]}")
    apart, scale = np.abs(a - b), scale_of(ours)
    alike = pairs = ties = 0
    for mine, other in zip(ours, theirs):
        first, second = np.triu_indices(len(mine), 1)
        gap, their_gap = mine[first] - mine[second], other[first] - other[second]
        decided = np.abs(gap) > 2 * rounding * scale  # either of the two may be off
        ties += int((~decided).sum())
        pairs += int(decided.sum())
        alike += int((np.sign(gap) == np.sign(their_gap))[decided].sum())
    return Agreement(float(apart.max() / scale), float(np.median(apart) / scale), alike / max(pairs, 1), pairs, ties)


def scale_of(scores: Sequence[np.ndarray]) -> float:
    """Root mean square of all scores. Raises ModelError where all are zero: then nothing can be compared."""
    scale = float(np.sqrt(np.mean(np.square(np.concatenate(scores).astype(np.float64)))))
    if not scale > 0:
        raise ModelError("every score is zero: the head was never trained, so there is nothing to compare")
    return scale


def explanation(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], norms: Sequence[np.ndarray]) -> str:
    """What a known trap of an engine would make of our scores, where theirs are that; else empty.

    norms: length of the hidden state that each score is read from, in the shape of `ours`.
    """
    a, b, n = (np.concatenate([np.asarray(part, np.float64) for part in side]) for side in (ours, theirs, norms))

    def near(made: np.ndarray, spread: float) -> bool:
        return bool(np.abs(b - made).max() < min(_ROUNDING * spread, _NEARER * np.abs(b - a).max()))

    sigmoid = 1 / (1 + np.exp(-a))
    if near(np.ones_like(a), 1.0):
        return "it puts a softmax over the one output, which always gives 1; ask SGLang's /classify, not /v1/classify"
    if near(sigmoid, max(float(np.ptp(sigmoid)), 1e-6)):
        return 'it puts a sigmoid on the score; config.json has to say problem_type "regression"'
    if near(np.sign(a), 1.0):
        return "it normalises the score to length one; config.json has to hold id2label, or the engine is too old"
    if near(a / n, float(np.ptp(a / n))):
        return "it normalises the hidden state before the head; config.json has to hold id2label"
    if np.ptp(b) > 0 and near(a + np.mean(b - a), float(np.ptp(a))):
        return (
            f"its scores are ours and {np.mean(b - a):+.3g}: it adds a bias to the head that the checkpoint has not; "
            "ranks are right, values are not"
        )
    return ""
