"""Which of a candidate's calls answers which of the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolrm_jax.toolcalls.equality import canonical
from toolrm_jax.toolcalls.types import Call, Reference

OMITTED = ""  # stands among a parameter's accepted values where it may be left out


def accepted_values(reference: Reference, index: int) -> dict[str, list[Any]]:
    """Per parameter of the reference's call `index`, the values that count as right."""
    if reference.accepted:
        return reference.accepted[index]
    return {name: [value] for name, value in reference.calls[index].arguments.items()}


def may_omit(reference: Reference, values: Sequence[Any]) -> bool:
    """Whether a parameter with these accepted values may be left out: only where several values are listed at all."""
    return bool(reference.accepted) and OMITTED in values


def is_accepted(value: Any, values: Sequence[Any]) -> bool:
    """Whether `value` equals one of the accepted ones (strings trimmed and case-folded)."""
    if not values:
        return False
    given = canonical(value)
    return any(given == canonical(wanted) for wanted in values)


def accepts(reference: Reference, index: int, call: Call) -> bool:
    """Whether `call` is a right answer to the reference's call `index`."""
    if call.name != reference.calls[index].name:
        return False
    values = accepted_values(reference, index)
    for name, value in call.arguments.items():
        if name not in values or not is_accepted(value, values[name]):
            return False
    return all(name in call.arguments or may_omit(reference, wanted) for name, wanted in values.items())


def assign(reference: Reference, calls: Sequence[Call]) -> list[int | None]:
    """For each reference call, the index of the candidate's call that answers it, or None.

    A maximum one-to-one matching (augmenting paths); by position where the reference is ordered.
    """
    count = len(reference.calls)
    if reference.ordered:
        return [i if i < len(calls) and accepts(reference, i, calls[i]) else None for i in range(count)]
    edges = [[j for j, call in enumerate(calls) if accepts(reference, i, call)] for i in range(count)]
    owner: dict[int, int] = {}

    def augment(i: int, seen: set[int]) -> bool:
        for j in edges[i]:
            if j not in seen:
                seen.add(j)
                if j not in owner or augment(owner[j], seen):
                    owner[j] = i
                    return True
        return False

    for i in range(count):
        augment(i, set())
    found: list[int | None] = [None] * count
    for j, i in owner.items():
        found[i] = j
    return found
