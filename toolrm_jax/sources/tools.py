"""The tools' self-check (method.md 3.1): every published way to describe a function becomes one form, or is refused.

The form is OpenAI's: a name, a description, and a JSON Schema of type object. Repaired on the way: wrappers, JSON
inside strings, parameters without the schema around them, Python's and BFCL's type names, `required` said per
parameter, required parameters that are not declared. Keys stay in their order.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import BAD_TOOL, SAME_NAME, Unfit
from toolrm_jax.sources.type_names import is_optional, schema_of
from toolrm_jax.toolcalls.schema import check_tool
from toolrm_jax.toolcalls.types import Tool

_PARAMETERS = ("parameters", "arguments", "input_parameters", "inputSchema", "input_schema")
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_KEYWORDS = {
    **dict.fromkeys(("description", "title", "format", "pattern", "$ref"), str),
    **dict.fromkeys(("enum", "examples", "required"), list),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), int),
    "patternProperties": dict,
}
"""What kind of value a keyword takes; one of another kind says nothing and is left out."""
_DEPTH = 32


def read_tools(values: Any) -> tuple[Tool, ...]:
    """The tools of one item, each once. `values`: a list of functions, one function, or either as JSON text.

    Raises Unfit for a tool beyond repair, and for two unlike tools of one name.
    """
    if isinstance(values, str):
        try:
            values = json.loads(values) if values.strip() else []
        except (ValueError, RecursionError) as error:
            raise Unfit(BAD_TOOL, f"the tools are not JSON: {error}") from None
    values = [values] if isinstance(values, Mapping) else values
    if not isinstance(values, list | tuple):
        raise Unfit(BAD_TOOL, f"the tools are no list but {type(values).__name__}")
    return unlike(read_tool(value) for value in values)


def unlike(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """The tools without repeats. Raises Unfit where two unlike ones share a name."""
    found: dict[str, Tool] = {}
    for tool in tools:
        if (first := found.setdefault(tool.name, tool)) is not tool and first != tool:
            raise Unfit(SAME_NAME, repr(tool.name)[:80])
    return tuple(found.values())


def read_tool(value: Any) -> Tool:
    """One tool. Raises Unfit. Equal texts give the very same Tool."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unfit(BAD_TOOL, str(error)) from None
    found = _tool(text)
    if isinstance(found, str):
        raise Unfit(BAD_TOOL, found)
    return found


@functools.lru_cache(maxsize=16384)
def _tool(text: str) -> Tool | str:
    """The tool of a JSON text, or why there is none; cached, as most tools are offered again and again."""
    try:
        value = json.loads(text)
        if isinstance(value, str):
            value = json.loads(value)
        function = value["function"] if isinstance(value.get("function"), dict) else value
        name = next((function[key] for key in ("name", "api_name") if function.get(key)), None)
        if not isinstance(name, str):
            return "it has no name"
        described = next((function[key] for key in ("description", "api_description") if function.get(key)), "")
        given = next((function[key] for key in _PARAMETERS if function.get(key) is not None), {})
        schema = object_schema(given, function.get("required"))
        tool = Tool(name, described if isinstance(described, str) else json.dumps(described), schema)
        if not _is_plain(schema):
            check_tool(tool)
    except (DataError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return str(error)
    return tool


def object_schema(given: Any, required: Any = None) -> dict[str, Any]:
    """The JSON Schema of a function's parameters. Raises ValueError where they are no map of parameters."""
    if isinstance(given, str):
        given = json.loads(given) if given.strip() else {}
    if isinstance(given, list):  # [{"name": ..., "type": ...}], as in OpenAPI
        given = {item["name"]: {key: part for key, part in item.items() if key != "name"} for item in given}
    if not isinstance(given, dict):
        raise ValueError(f"its parameters are {type(given).__name__}")
    if not _is_object_schema(given):
        bare = {key: part for key, part in given.items() if isinstance(part, dict | str)}
        if len(bare) < len(given):
            raise ValueError(f"parameter {next(key for key in given if key not in bare)!r} has no description")
        given = {"type": "object", "properties": bare}
    if required and not given.get("required"):
        given = {**given, "required": required}
    schema = {"type": "object", **_schema(given, 0)}
    schema.setdefault("properties", {})
    return schema


def _is_object_schema(given: dict[str, Any]) -> bool:
    """Whether this is a schema of an object, not the map of its properties: a parameter may be called `type`."""
    if isinstance(given.get("properties"), dict):
        return True
    return isinstance(given.get("type"), str) and schema_of(given["type"]).get("type") == "object"


def _schema(given: Any, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ValueError(f"a schema nested deeper than {_DEPTH}")
    if isinstance(given, str):
        return schema_of(given) or {"description": given}
    if not isinstance(given, dict):
        if isinstance(given, bool):
            return {}
        raise ValueError(f"a parameter's schema is {type(given).__name__}")
    schema: dict[str, Any] = {}
    for key, part in given.items():
        if key == "type":
            schema |= _type(part)
        elif key == "properties":
            schema[key] = {name: _schema(item, depth + 1) for name, item in (part or {}).items()}
        elif key == "items":
            schema[key] = _schema(part[0] if isinstance(part, list) and part else part or {}, depth + 1)
        elif key in ("anyOf", "oneOf", "allOf"):
            schema[key] = [_schema(item, depth + 1) for item in part]
        elif key == "required":
            if isinstance(part, list):
                schema[key] = part
        elif key not in ("optional", "nullable") and _is_meant(key, part):
            schema[key] = part
    return _with_required(schema, given)


def _is_meant(key: str, part: Any) -> bool:
    """Whether a keyword's value is of a kind that it can have; a pattern has to be one."""
    if part is None or part == [] or (isinstance(part, bool) and key in _KEYWORDS):
        return False
    if key == "pattern" and isinstance(part, str):
        try:
            re.compile(part)
        except re.error:
            return False
    return isinstance(part, _KEYWORDS.get(key, object))


def _type(named: Any) -> dict[str, Any]:
    if isinstance(named, list):
        names = [item for name in named for item in _as_list(schema_of(name).get("type"))]
        return {"type": list(dict.fromkeys(names))} if names else {}
    if not isinstance(named, str):
        return {}
    return {"type": named} if named in _TYPES else schema_of(named)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _with_required(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`required` as a list of declared names, also from `"required": true` and `"type": "str, optional"` inside."""
    properties = schema.get("properties")
    if properties is None:
        schema.pop("required", None)
        return schema
    inside = given["properties"] or {}
    listed = schema.get("required")
    if listed is None:
        listed = [name for name, part in inside.items() if _says_required(part, inside)]
    names = [name for name in dict.fromkeys(map(str, listed)) if name in properties]
    if names:
        schema["required"] = names
    else:
        schema.pop("required", None)
    return schema


def _says_required(part: Any, beside: dict[str, Any]) -> bool:
    """A parameter's own word. Where a list marks optional types (`str, optional`), the unmarked are required."""
    if isinstance(part, dict) and isinstance(part.get("required"), bool):
        return part["required"]
    return _marks_optional(beside) and not _is_marked(part)


def _marks_optional(properties: dict[str, Any]) -> bool:
    return any(_is_marked(part) for part in properties.values())


def _is_marked(part: Any) -> bool:
    named = part.get("type") if isinstance(part, dict) else part
    return isinstance(named, str) and is_optional(named)


_CHECKED = frozenset(_KEYWORDS) - {"$ref", "required", "enum", "patternProperties"}
"""Keywords whose values `_is_meant` has looked at already."""


def _is_plain(schema: Any) -> bool:
    """Whether a repaired schema uses nothing that could still be wrong: the full check is slow, and few need it."""
    if not isinstance(schema, dict):
        return False
    for key, part in schema.items():
        if key == "properties":
            plain = all(map(_is_plain, part.values()))
        elif key == "items":
            plain = _is_plain(part)
        elif key in ("anyOf", "oneOf", "allOf"):
            plain = bool(part) and all(map(_is_plain, part))
        elif key == "type":
            plain = part in _TYPES if isinstance(part, str) else set(part) <= _TYPES
        elif key == "required":
            plain = all(isinstance(name, str) for name in part)
        elif key == "enum":
            plain = len({json.dumps(item) for item in part}) == len(part)
        elif key.startswith(("min", "max")):
            plain = part >= 0 or key in ("minimum", "maximum")
        else:
            plain = key in _CHECKED or key in ("default", "example_value")
        if not plain:
            return False
    return True
