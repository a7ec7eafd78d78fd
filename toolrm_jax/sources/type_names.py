"""JSON Schema for the types that data sets name in other ways: Python's, BFCL's, words in prose."""

from __future__ import annotations

import functools
import re
from typing import Any

_NAMES = {
    **dict.fromkeys(("str", "string", "text", "char", "date", "datetime", "time", "timestamp", "enum", "uuid", "url",
                     "email", "file", "bytes", "date-time", "path"), "string"),
    **dict.fromkeys(("int", "integer", "long", "short", "byte", "bigint", "int32", "int64"), "integer"),
    **dict.fromkeys(("float", "number", "double", "numeric", "decimal", "complex"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("dict", "object", "mapping", "map", "json", "hashmap", "defaultdict"), "object"),
    **dict.fromkeys(("list", "array", "tuple", "set", "sequence", "iterable", "arraylist", "frozenset", "ndarray",
                     "np.ndarray", "numpy.ndarray"), "array"),
    **dict.fromkeys(("none", "null", "nonetype"), "null"),
}  # fmt: skip
_OUTER = re.compile(r"([\w.]+)\s*[\[<(](.*)[\])>]", re.DOTALL)
_OPTIONAL = re.compile(r"(?:[,;]?\s*\(?\boptional\b\)?|,?\s*default\b.*)$", re.IGNORECASE | re.DOTALL)
_DEPTH = 8


@functools.lru_cache(maxsize=65536)
def is_optional(name: str) -> bool:
    """Whether the name of a type says that the value may be left out: `str, optional`, `Optional[int]`."""
    return _OPTIONAL.search(name) is not None or name.strip().lower().startswith("optional[")


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema of a type by its name: `List[Union[int, float]]` is an array of numbers. Empty: any value.

    What names no JSON type (`Callable[[float], float]`, `MyClass`) allows any value.
    """
    return _copied(_schema(_OPTIONAL.sub("", name).strip(), 0))


@functools.lru_cache(maxsize=65536)
def _schema(name: str, depth: int) -> dict[str, Any]:
    if found := _NAMES.get(name.lower()):
        return {"type": found}
    outer = _OUTER.fullmatch(name)
    if depth == _DEPTH or (outer is None and "|" not in name):
        return {}
    if outer is None:
        return _union(_split(name, "|"), depth)
    kind, inner = outer[1].lower().rpartition(".")[2], _split(outer[2], ",")
    if kind == "union":
        return _union(inner, depth)
    if kind == "optional":
        return _schema(inner[0], depth + 1) if inner else {}
    json_type = _NAMES.get(kind)
    if json_type == "array" and inner:
        kinds = [item for item in inner if item != "..."]
        items = _schema(kinds[0], depth + 1) if len(kinds) == 1 else _union(kinds, depth)
        return {"type": "array", "items": items} if items else {"type": "array"}
    return {"type": json_type} if json_type else {}


def _union(names: list[str], depth: int) -> dict[str, Any]:
    schemas = [_schema(name, depth + 1) for name in names]
    if not schemas or not all(schemas):
        return {}
    unlike = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if len(unlike) == 1:
        return unlike[0]
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in unlike):
        return {"type": [schema["type"] for schema in unlike]}
    return {"anyOf": unlike}


def _split(text: str, mark: str) -> list[str]:
    """The stripped pieces between marks that stand in no bracket."""
    pieces, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "[(<{") - (character in "])>}")
        if character == mark and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    return [piece.strip() for piece in (*pieces, text[start:]) if piece.strip()]


def _copied(value: Any) -> Any:
    """A copy, since the cached one is shared."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
