"""A tool's JSON Schema under other parameter names, its keys in a random order.

Only the parameters themselves are renamed: the keys of nested objects are part of a parameter's value. Enumerations,
defaults and constants are values too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Tool

# Keywords of JSON Schema that hold one schema, several, or schemas by name.
_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME = ("properties", "$defs", "definitions", "dependentSchemas")
# Those among them whose schemas speak of the same object as the schema they stand in.
_SAME_OBJECT = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
# Keywords that tie the top level's names to something that cannot be followed.
_REFUSED = ("patternProperties", "propertyNames", "$ref", "$dynamicRef", "unevaluatedProperties")
_HOLDERS = frozenset((*_ONE, *_SEVERAL, *_BY_NAME))
_TOLD = ("description", "title")
_VALUES = ("enum", "const", "default", "examples")
_POINTER = re.compile(r"#/(\$defs|definitions|properties)/([^/]+)(.*)", re.DOTALL)

Rename = Callable[[str], str]


def parameter_names(tool: Tool) -> list[str]:
    """Every name of a parameter of the tool, wherever the schema speaks of it, in order and without repeats.

    Raises DataError where parameters are known by a pattern, or by a `$ref` to the whole schema.
    """
    _check_followable(tool)
    found: dict[str, str] = {}
    rewrite(tool.parameters, lambda name: found.setdefault(name, name))
    return list(found)


def rewrite(
    schema: Any, rename: Rename, generator: random.Random | None = None, tell: Rename | None = None, top: bool = True
) -> Any:
    """The schema with the top level's parameters renamed, given a generator with all its keys in a random order.

    `tell` rewrites descriptions and titles. `top`: the schema speaks of the arguments as a whole.
    """
    if not isinstance(schema, dict):
        return schema
    out = {}
    for keyword, value in schema.items():
        if keyword in _HOLDERS:
            inner_top = top and keyword in _SAME_OBJECT
            if keyword in _ONE:
                value = rewrite(value, rename, generator, tell, inner_top)
            elif keyword in _SEVERAL and isinstance(value, list):
                value = [rewrite(item, rename, generator, tell, inner_top) for item in value]
            elif keyword in _BY_NAME and isinstance(value, dict):
                new = rename if top and keyword in ("properties", "dependentSchemas") else str
                inner = {new(key): rewrite(item, rename, generator, tell, inner_top) for key, item in value.items()}
                value = _shuffled(inner, generator)
        elif keyword == "required" and top:
            value = _all(value, rename)
        elif keyword == "dependentRequired" and top and isinstance(value, dict):
            value = {rename(name): _all(others, rename) for name, others in value.items()}
        elif keyword == "$ref" and isinstance(value, str):
            value = _pointer(value, rename)
        elif tell is not None and keyword in _TOLD and isinstance(value, str):
            value = tell(value)
        out[keyword] = value
    return _shuffled(out, generator)


def told(schema: Any) -> Iterator[str]:
    """Descriptions and titles anywhere in the schema."""
    for part in _parts(schema):
        yield from (part[key] for key in _TOLD if isinstance(part.get(key), str))


def values(schema: Any) -> Iterator[Any]:
    """Values that the schema lists or gives as defaults, anywhere in it."""
    for part in _parts(schema):
        yield from (part[key] for key in _VALUES if key in part)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    stack = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)


def _check_followable(tool: Tool) -> None:
    stack = [tool.parameters]
    while stack:
        schema = stack.pop()
        if not isinstance(schema, dict):
            continue
        for keyword in _REFUSED:
            if keyword in schema:
                raise DataError(f"tool {tool.name!r}: top-level {keyword!r} cannot be obfuscated; leave the task out")
        for keyword in _SAME_OBJECT:
            value = schema.get(keyword)
            by_name = keyword in _BY_NAME and isinstance(value, dict)
            stack.extend(value.values() if by_name else value if isinstance(value, list) else [value])


def _all(names: Any, rename: Rename) -> Any:
    return [rename(name) if isinstance(name, str) else name for name in names] if isinstance(names, list) else names


def _pointer(reference: str, rename: Rename) -> str:
    found = _POINTER.fullmatch(reference)
    if found is None:
        raise DataError(f"a schema's $ref {reference!r} cannot be obfuscated; use #/$defs/NAME or leave the task out")
    section, name, rest = found.groups()
    if section != "properties":
        return reference
    return f"#/properties/{rename(name.replace('~1', '/').replace('~0', '~'))}{rest}"


def _shuffled(mapping: dict[str, Any], generator: random.Random | None) -> dict[str, Any]:
    if generator is None or len(mapping) < 2:
        return mapping
    items = list(mapping.items())
    generator.shuffle(items)
    return dict(items)
