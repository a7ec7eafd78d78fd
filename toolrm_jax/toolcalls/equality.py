"""When two JSON values, or two sets of calls, are the same (method.md section 4, item 3)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Call, Candidate

MAX_DEPTH = 64


def equal(a: Any, b: Any, fold_case: bool = True) -> bool:
    """JSON-typed deep equality: 1 equals 1.0, booleans never equal numbers, list order matters, map order does not.

    Strings are trimmed and case-folded first unless `fold_case` is false; the keys of maps never are.
    Raises DataError where a value is no JSON value or is nested more than MAX_DEPTH deep.
    """
    return canonical(a, fold_case) == canonical(b, fold_case)


def canonical(value: Any, fold_case: bool = True) -> Hashable:
    """A hashable form of a JSON value, a call, or a sequence of calls: two forms are equal iff the values are."""
    if type(value) is str:  # nearly all values are strings
        return value.strip().casefold() if fold_case else value
    return _canonical(value, fold_case, MAX_DEPTH)


def multiset(calls: Iterable[Call], fold_case: bool = True) -> Hashable:
    """`canonical` of calls whose order does not matter."""
    return frozenset(Counter(canonical(call, fold_case) for call in calls).items())


def candidate_key(candidate: Candidate) -> Hashable:
    """Equal for candidates that are to be merged: canonical calls and stripped text (method.md section 4, item 12).

    For a candidate that could not be parsed the raw text is the text. Raises DataError on values too deep.
    """
    text = candidate.text if candidate.fault is None else candidate.raw or ""
    return candidate.fault is None, canonical(candidate.calls), text.strip()


def _canonical(value: Any, fold_case: bool, depth: int) -> Hashable:
    # Strings, numbers and null stand for themselves; everything else is a tuple that begins with its kind, so
    # that True is not 1 and a list is not a map.
    if isinstance(value, str):
        return value.strip().casefold() if fold_case else value
    if value is None:
        return None
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("nan",) if isinstance(value, float) and math.isnan(value) else value
    if depth == 0:
        raise DataError(f"a value is nested more than {MAX_DEPTH} deep; flatten it")
    if isinstance(value, Call):
        return ("call", value.name, _canonical(value.arguments, fold_case, depth - 1))
    if isinstance(value, (dict, Mapping)):  # the abstract class last: asking it is slow
        return ("map", frozenset([(key, _canonical(item, fold_case, depth - 1)) for key, item in value.items()]))
    if isinstance(value, list | tuple):
        return ("list", *[_canonical(item, fold_case, depth - 1) for item in value])
    raise DataError(f"{type(value).__name__} is not a JSON value; give null, booleans, numbers, strings, lists, maps")
