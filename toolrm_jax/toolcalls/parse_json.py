"""JSON written by models: decoded by the standard library once its nesting is known to be bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from toolrm_jax.toolcalls.parsed import DEPTH_LIMIT, Fault, check_encodable, check_text, read_float, read_int
from toolrm_jax.toolcalls.types import Call

# A string (group 1 is empty where it is not closed) or a bracket. Possessive, so that nothing is read twice.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+("?)|[\[{]|[\]}]', re.DOTALL)


def json_object_end(text: str, start: int) -> int:
    """Where the object or list that opens at `start` ends, by its brackets alone. Raises Fault."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        character = text[token.start()]
        if character == '"':
            if not token[1]:
                raise Fault("not JSON: a string is not closed")
        elif character in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise Fault(f"nested deeper than {DEPTH_LIMIT}")
        else:
            depth -= 1
            if depth <= 0:
                return token.end()
    raise Fault("not JSON: a bracket is not closed")


def decode_json(text: str) -> Any:
    """The value of a JSON text. Raises Fault; see `parse.py` for what is refused beyond the grammar."""
    check_text(text)
    body = text.strip()
    if body[:1] in ("{", "["):
        json_object_end(body, 0)
    try:
        value = json.loads(
            body,
            object_pairs_hook=_object,
            parse_int=read_int,
            parse_float=read_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise Fault(f"not JSON: {error.msg} at character {error.pos}") from None
    if "\\u" in body:  # an escape may spell a surrogate that the text itself does not hold
        check_encodable(json.dumps(value, ensure_ascii=False))
    return value


def read_call(value: Any) -> Call:
    """A call from `{"name": ..., "arguments": ...}`; other fields are ignored, as inference engines do.

    Arguments given as a JSON string are decoded once (method.md, section 4, item 8). Raises Fault.
    """
    if not isinstance(value, Mapping):
        raise Fault(f"expected an object, found {_kind(value)}")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise Fault("no name" if "name" not in value else "the name is not a text with characters")
    check_encodable(name)
    if "arguments" not in value:
        raise Fault("no arguments")
    arguments = value["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = decode_json(arguments)
        except Fault as fault:
            raise Fault(f"arguments: {fault}") from None
    if not isinstance(arguments, dict):
        raise Fault(f"arguments: expected an object, found {_kind(arguments)}")
    return Call(name, arguments)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Fault(f"the key {repeated[:40]!r} is repeated")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Fault(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
