"""Answers that their model was stopped in: marked where they are read (synth/grade.py), and kept from all training.

What the model would have gone on to say nobody knows. An end-of-turn token behind such an answer, which is where the
score is read, is one that it never wrote: a reward model would learn that ending there is wrong.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from toolrm_jax.toolcalls.types import Candidate, Choice, Group

CUT_OFF = "answers cut off before their end"
NONE_WHOLE = "groups without a whole answer, or a chosen pair of such"


def whole_answers(answers: Sequence[Candidate], counts: Counter[str]) -> list[Candidate]:
    """Those that came to their end; the others are counted."""
    whole = [answer for answer in answers if not answer.cut]
    counts[CUT_OFF] += len(answers) - len(whole)
    return whole


def without_cut_off(group: Group, counts: Counter[str]) -> Group | None:
    """The group with its whole answers and the chosen pairs of these; None where nothing is left of either."""
    kept = [place for place, candidate in enumerate(group.candidates) if not candidate.cut]
    if len(kept) == len(group.candidates):
        return group
    counts[CUT_OFF] += len(group.candidates) - len(kept)
    new = {old: place for place, old in enumerate(kept)}
    choices = tuple(
        Choice(new[choice.better], new[choice.worse], choice.swapped)
        for choice in group.choices
        if choice.better in new and choice.worse in new
    )
    if not kept or (group.choices and not choices):
        counts[NONE_WHOLE] += 1
        return None
    candidates, verdicts = zip(*((group.candidates[place], group.verdicts[place]) for place in kept))
    return dataclasses.replace(group, candidates=candidates, verdicts=verdicts, choices=choices)
