"""Groups as tokens for a judge that reads a model: what it cannot read is left out, and is None among the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.store import encode
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.evals.scores import Score, Scores
from toolrm_jax.toolcalls.types import Group

Readable = tuple[tuple[int, ...], TokenGroup | None]
"""The places of a group's answers that can be read, and those answers as tokens (None where there are none)."""


def readable(chat: Chat, groups: Sequence[Group], longest: int | None) -> list[Readable]:
    """Each group's readable answers: written by the template, and with the context at most `longest` tokens.

    longest: None where nobody knows before the answer is sent.
    """
    return [_of_group(chat, group, longest) for group in groups]


def scored(
    groups: Sequence[Group],
    read: Sequence[Readable],
    score: Callable[[list[TokenGroup]], Sequence[Sequence[Score]]],
) -> Scores:
    """`score` of what is readable, in the groups' own order of answers, and None for the rest."""
    found = iter(score([tokens for _, tokens in read if tokens is not None]))
    out: Scores = []
    for group, (places, tokens) in zip(groups, read, strict=True):
        row: list[Score] = [None] * len(group.candidates)
        if tokens is not None:
            for place, value in zip(places, next(found), strict=True):
                row[place] = None if value is None else float(value)
        out.append(row)
    return out


def _of_group(chat: Chat, group: Group, longest: int | None) -> Readable:
    places = tuple(range(len(group.candidates)))
    try:
        tokens = encode(chat, group)
    except DataError:
        # One answer may be what the template cannot write: the others are read without it.
        places = tuple(k for k in places if _writable(chat, _only(group, (k,))))
        if not places:
            return (), None
        tokens = encode(chat, _only(group, places))
    if longest is None:
        return places, tokens
    fit = [k for k, answer in enumerate(tokens.responses) if len(tokens.context) + len(answer) <= longest]
    if len(fit) == len(places):
        return places, tokens
    kept = tuple(places[k] for k in fit)
    return kept, encode(chat, _only(group, kept)) if kept else None


def _only(group: Group, places: Sequence[int]) -> Group:
    candidates = tuple(group.candidates[k] for k in places)
    return dataclasses.replace(
        group, candidates=candidates, verdicts=tuple(group.verdicts[k] for k in places), choices=()
    )


def _writable(chat: Chat, group: Group) -> bool:
    try:
        encode(chat, group)
    except DataError:
        return False
    return True
