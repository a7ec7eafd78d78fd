"""What a judge gives: a number for every answer, or None for an answer that it could not read.

An answer is *unread* where, with its context, it is longer than the model reads, or where the chat template cannot
write it. One rule holds for every judge and metric: no comparison with an unread answer is won, and it is never the
preferred one. In what is computed of scores themselves (AUC, shifts, calibration, leanings) it has no part. How many
there were is told beside every result. NaN is no such answer but a broken model, and an error.
"""

from __future__ import annotations

from collections.abc import Sequence

Score = float | None
Scores = list[list[Score]]
"""Per group, one number per candidate, higher is better, None where it was not read: `scores[g][k]`."""


def preferred(row: Sequence[Score]) -> list[int]:
    """The places of the best score, several where they tie; none where an answer was not read.

    Whoever has not read all answers has not found the best of them.
    """
    if None in row:
        return []
    return [k for k, score in enumerate(row) if score == max(row)]


def unread_note(scores: Sequence[Sequence[Score]], then: str = "every comparison with one is lost") -> str:
    """How many answers were not read and what follows of it, as a clause for a note; empty where all were read."""
    answers = sum(score is None for row in scores for score in row)
    groups = sum(None in row for row in scores)
    if not answers:
        return ""
    return (
        f"{answers:,} answers in {groups:,} of {len(scores):,} groups could not be read (too long, or not to be "
        f"written by the chat template): {then}"
    )
