"""Values and calls published as text: JSON, or Python literals, which are read without ever being evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from toolrm_jax.sources.drops import BAD_CALL, Unfit
from toolrm_jax.toolcalls.parse import parse_python
from toolrm_jax.toolcalls.types import Call, Tool

_ARGUMENTS = ("arguments", "parameters", "args", "input")
_KINDS = {"integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
_NAMES = ("name", "tool", "api", "api_name", "function")
_QUOTED_JSON = re.compile(r"""(["']arguments["']\s*:\s*)'(\{.*\})'""", re.DOTALL)


def loads(text: str) -> Any:
    """The value of a JSON text or of a Python literal. Raises ValueError where it is neither.

    Also Glaive's mixture: JSON in which the arguments are JSON in single quotes, apostrophes inside them and all.
    """
    try:
        return json.loads(text)
    except ValueError as fault:
        first = fault
    if found := _QUOTED_JSON.search(text):
        try:
            return json.loads(text[: found.start()] + found[1] + found[2] + text[found.end() :])
        except ValueError:
            pass
    parsed = parse_python(f"_(_={text})")  # as the one argument of a call, which has to be a literal
    if parsed.fault is not None or len(parsed.calls) != 1 or parsed.calls[0].arguments.keys() != {"_"}:
        raise ValueError(f"neither JSON ({first}) nor a Python literal ({parsed.fault})")
    return parsed.calls[0].arguments["_"]


def fitted(call: Call, tool: Tool | None) -> Call:
    """The call with values that are the text of what the schema wants, `"63"` or `"['a']"`, read as that.

    A repair for data sets whose authors wrote some values so; text that is no such literal stays text.
    """
    if tool is None:
        return call
    arguments = {name: _fitted(value, tool.properties.get(name)) for name, value in call.arguments.items()}
    return Call(call.name, arguments)


def _fitted(value: Any, schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    wanted = _KINDS.get(kind) if isinstance(kind, str) else None
    if wanted is None or not isinstance(value, str):
        return value
    try:
        read = loads(value.strip())
    except (ValueError, RecursionError):
        return value
    fits = isinstance(read, wanted) and (kind == "boolean" or not isinstance(read, bool))
    return read if fits else value


def read_calls(value: Any) -> tuple[Call, ...]:
    """The calls of a list, of one call, or of either as text. Raises Unfit (BAD_CALL)."""
    if isinstance(value, str):
        try:
            value = loads(value.strip() or "[]")
        except (ValueError, RecursionError) as error:
            raise Unfit(BAD_CALL, str(error)) from None
    if isinstance(value, Mapping):
        return (read_call(value),)
    if not isinstance(value, list | tuple):
        raise Unfit(BAD_CALL, f"expected calls, found {type(value).__name__}")
    return tuple(map(read_call, value))


def read_call(value: Any) -> Call:
    """One call: a name (or a `function` with one) and arguments, as a map or as its text. Raises Unfit (BAD_CALL)."""
    if not isinstance(value, Mapping):
        raise Unfit(BAD_CALL, f"expected a call, found {type(value).__name__}")
    if isinstance(value.get("function"), Mapping):
        value = value["function"]
    name = next((value[key] for key in _NAMES if value.get(key)), None)
    if not isinstance(name, str):
        raise Unfit(BAD_CALL, "a call without a name")
    arguments = next((value[key] for key in _ARGUMENTS if key in value), {})
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments.strip() or "{}")
        except (ValueError, RecursionError) as error:
            raise Unfit(BAD_CALL, f"{name}: {error}") from None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise Unfit(BAD_CALL, f"{name}: the arguments are {type(arguments).__name__}")
    return Call(name, dict(arguments))
