"""Which of FC-RewardBench's eight kinds of error a wrong set of calls has (method.md 2.1).

The order of checks is that of BFCL's checker: the number of functions first; then per call the name, missing
required parameters, each given parameter (known? type? value?), and last parameters that the answer needs although
the schema does not. The first check that fails names the error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from toolrm_jax.toolcalls.matching import accepted_values, assign, is_accepted, may_omit
from toolrm_jax.toolcalls.types import Call, ErrorType, Reference, Tool

# How near a call is to the right one, by the check that it failed: a wrong value in the right form is nearest.
_STAGES = {
    ErrorType.NAME: 0,
    ErrorType.MISSING_REQUIRED: 1,
    ErrorType.UNEXPECTED: 2,
    ErrorType.MISSING_OPTIONAL: 3,
    ErrorType.TYPE: 4,
    ErrorType.VALUE: 5,
}


class Fault(NamedTuple):
    """The error type of wrong calls; `tell` gives one line that says where, which few ask for."""

    kind: ErrorType
    tell: Callable[[], str]

    @property
    def reason(self) -> str:
        """The line."""
        return self.tell()


def classify(tools: Sequence[Tool], reference: Reference, calls: Sequence[Call]) -> tuple[ErrorType, str]:
    """The error type of calls known to be wrong, and one line that says where.

    With several calls, the first reference call that nothing answers decides: its error is that of the nearest of
    the candidate's calls that answer no other. Never FORMAT: that is known before there are calls.
    """
    found = assign(reference, calls) if len(calls) == len(reference.calls) else None
    fault = fault_of(tools, reference, calls, found)
    return fault.kind, fault.reason


def fault_of(
    tools: Sequence[Tool], reference: Reference, calls: Sequence[Call], found: Sequence[int | None] | None
) -> Fault:
    """As `classify`, given what `assign` found; None: not as many calls as the reference has."""
    if found is None:
        return Fault(ErrorType.NUMBER, lambda: f"{len(calls)} calls where {len(reference.calls)} are right")
    missed = next((i for i, j in enumerate(found) if j is None), None)
    if missed is None:
        return Fault(ErrorType.VALUE, lambda: "the calls are accepted one by one")
    free = [missed] if reference.ordered else [j for j in range(len(calls)) if j not in found]
    faults = [_first_fault(tools, reference, missed, calls[j]) for j in free]
    return max(faults, key=lambda fault: _STAGES[fault.kind])


def _first_fault(tools: Sequence[Tool], reference: Reference, index: int, call: Call) -> Fault:
    right = reference.calls[index].name
    if call.name != right:
        return Fault(ErrorType.NAME, lambda: f"call of {_short(call.name)} where {_short(right)} is right")
    tool = next((tool for tool in tools if tool.name == right), Tool(right, "", {}))
    values = accepted_values(reference, index)
    for name in tool.required:
        if name not in call.arguments and not (name in values and may_omit(reference, values[name])):
            return Fault(
                ErrorType.MISSING_REQUIRED, lambda name=name: f"{right}: required parameter {_short(name)} is missing"
            )
    for name, value in call.arguments.items():
        schema = tool.properties.get(name)
        if name not in values or (tool.properties and schema is None):
            return Fault(ErrorType.UNEXPECTED, lambda name=name: f"{right}: parameter {_short(name)} is unexpected")
        if is_accepted(value, values[name]):
            continue
        if not _has_type(value, schema if isinstance(schema, dict) else {}, values[name]):
            return Fault(
                ErrorType.TYPE,
                lambda name=name, value=value: f"{right}: {_short(name)} is a {_kind(value)}: {_short(value)}",
            )
        return Fault(
            ErrorType.VALUE,
            lambda name=name, value=value: (
                f"{right}: {_short(name)} is {_short(value)}, not {_short(values[name][:1])}"
            ),
        )
    for name, wanted in values.items():
        if name not in call.arguments and not may_omit(reference, wanted):
            return Fault(
                ErrorType.MISSING_OPTIONAL,
                lambda name=name: f"{right}: parameter {_short(name)} is needed but not given",
            )
    return Fault(ErrorType.VALUE, lambda: f"{right}: the call is accepted, but for another place")


def _has_type(value: Any, schema: dict[str, Any], accepted: Sequence[Any]) -> bool:
    """Whether a value has the schema's type, one level into lists as BFCL looks, or that of an accepted value."""
    kinds = {_kind(wanted) for wanted in accepted if wanted != ""}
    named = schema.get("type")
    allowed = {kind for kind in (named if isinstance(named, list) else [named]) if isinstance(kind, str)} or kinds
    if not allowed:
        return True
    if not _is_one_of(value, allowed):
        return _is_one_of(value, kinds)
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict) and isinstance(items.get("type"), str):
        inside = {items["type"]} | {_kind(item) for wanted in accepted if isinstance(wanted, list) for item in wanted}
        return all(_is_one_of(item, inside) for item in value)
    return True


def _is_one_of(value: Any, kinds: set[str]) -> bool:
    kind = _kind(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _kind(value: Any) -> str:
    """The JSON Schema name of a value's type; a float is a number even where it is whole."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "null"


_KINDS = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list | tuple, "array"),
    (dict, "object"),
)


_SHOWN = json.JSONEncoder(ensure_ascii=False, default=str)


def _short(value: Any) -> str:
    text = _SHOWN.encode(value)
    return text if len(text) <= 60 else text[:57] + "..."
