"""What a tool's JSON Schema (Draft 2020-12) says of a call, in FC-RewardBench's error types."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Call, ErrorType, Tool

_MESSAGE_LIMIT = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a call; `parameter` is the top-level parameter, None where the whole call is meant."""

    kind: ErrorType
    parameter: str | None
    message: str


def violations(tools: Sequence[Tool], call: Call) -> list[Violation]:
    """Everything wrong with the call by the schemas alone; empty for a valid call.

    An unknown tool is reported alone. Otherwise: required parameters that are missing (schema order), parameters that
    are not declared although `properties` is there and `additionalProperties` does not allow them (call order), then
    faults of the values: a wrong JSON type is TYPE (booleans are no numbers, 1.0 is an integer, as JSON Schema has it),
    anything else VALUE, also a key missing or extra deep inside a value. Raises DataError for an unusable schema.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        offered = ", ".join(tool.name for tool in tools) or "none"
        return [Violation(ErrorType.NAME, None, _short(f"unknown tool {call.name!r}; offered: {offered}"))]
    missing = [
        Violation(ErrorType.MISSING_REQUIRED, name, f"required parameter {name!r} is missing")
        for name in dict.fromkeys(tool.required)
        if name not in call.arguments
    ]
    unexpected = [
        Violation(ErrorType.UNEXPECTED, name, f"parameter {name!r} is not in the schema")
        for name in call.arguments
        if not _allowed(tool.parameters, name)
    ]
    return missing + unexpected + _value_faults(tool, call)


def check_tool(tool: Tool) -> None:
    """Raise DataError unless `tool.parameters` is a usable JSON Schema of type object and the tool has a name."""
    if not tool.name:
        raise DataError("a tool without a name: give every tool a name")
    if tool.parameters.get("type") != "object":
        found = tool.parameters.get("type")
        raise DataError(f"tool {tool.name!r}: its parameters are of type {found!r}; give a schema of type 'object'")
    try:
        Draft202012Validator.check_schema(tool.parameters)
        for pattern in _patterns(tool.parameters):
            re.compile(pattern)
        resolver = Registry().with_resource("", DRAFT202012.create_resource(tool.parameters)).resolver()
        for reference in _references(tool.parameters):
            resolver.lookup(reference)
    except (SchemaError, Unresolvable, re.error, RecursionError, TypeError, ValueError) as error:
        reason = _short(getattr(error, "message", str(error)))
        raise DataError(f"tool {tool.name!r}: not a valid JSON Schema ({reason}); mend its parameters") from None


def _allowed(schema: dict[str, Any], name: str) -> bool:
    """Whether the schema admits a parameter of that name: declared ones only, unless it says otherwise."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema.get("additionalProperties") is not False
    if name in properties or schema.get("additionalProperties", False) is not False:
        return True
    return any(re.search(pattern, name) for pattern in schema.get("patternProperties", ()))


def _value_faults(tool: Tool, call: Call) -> list[Violation]:
    try:
        validator = _validator(json.dumps(tool.parameters))
        errors = list(validator.iter_errors(call.arguments))
    except (UnknownType, Unresolvable, re.error, RecursionError, AttributeError, TypeError, ValueError) as error:
        reason = _short(str(error))
        raise DataError(f"tool {tool.name!r}: its schema cannot be used ({reason}); see check_tool") from None
    found = []
    for error in errors:
        if list(error.absolute_schema_path) in (["required"], ["additionalProperties"]):
            continue  # reported by name already
        parameter = str(error.absolute_path[0]) if error.absolute_path else None
        found.append(Violation(_kind(error), parameter, _short(error.message)))
    order = {name: place for place, name in enumerate(call.arguments)}
    return sorted(found, key=lambda fault: (order.get(fault.parameter, -1), fault.kind is not ErrorType.TYPE))


def _kind(error: ValidationError) -> ErrorType:
    """TYPE where the value, at any depth, has a wrong JSON type, also one that no branch of a choice accepts."""
    if error.validator in ("anyOf", "oneOf") and error.context:
        same_type = all(inner.validator == "type" and not inner.relative_path for inner in error.context)
        return ErrorType.TYPE if same_type else ErrorType.VALUE
    return ErrorType.TYPE if error.validator == "type" else ErrorType.VALUE


@functools.lru_cache(maxsize=16384)
def _validator(schema: str) -> Draft202012Validator:
    """Cached by the schema's text. The empty registry keeps `$ref` from reaching for the network."""
    return Draft202012Validator(json.loads(schema), registry=Registry())


def _patterns(schema: Any) -> Iterator[str]:
    for part in _parts(schema):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        if isinstance(part.get("patternProperties"), dict):
            yield from part["patternProperties"]


def _references(schema: Any) -> Iterator[str]:
    return (part["$ref"] for part in _parts(schema) if isinstance(part.get("$ref"), str))


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object inside the schema, itself included."""
    stack = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)


def _short(message: str) -> str:
    """One line, cut: messages quote values that models wrote."""
    line = " ".join(message.split())
    return line if len(line) <= _MESSAGE_LIMIT else line[: _MESSAGE_LIMIT - 1] + "…"
