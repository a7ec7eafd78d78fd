"""Calls and signatures that data sets publish as lines of Python, which are never run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from toolrm_jax.sources.drops import BAD_CALL, Unfit
from toolrm_jax.sources.literals import loads
from toolrm_jax.toolcalls.parse import parse_python
from toolrm_jax.toolcalls.types import Call, Tool

_ASSIGNED = re.compile(r"^\s*\w+\s*=\s*(?=[\w.]+\()")
_CALL = re.compile(r"([\w.]+)\((.*)\)\s*", re.DOTALL)
_KEYWORD = re.compile(r"\s*(\w+)\s*(?::\s*([^=]+?))?\s*(?:=\s*(.*))?$", re.DOTALL)


def python_call(text: str, tools: Sequence[Tool] = ()) -> Call:
    """The call of one line, `r = f(a=1)` too; values without names get those of the tool's parameters, in order.

    Raises Unfit (BAD_CALL).
    """
    line = _ASSIGNED.sub("", text.strip())
    parsed = parse_python(f"[{line}]")
    if parsed.fault is None and len(parsed.calls) == 1:
        return parsed.calls[0]
    found = _CALL.fullmatch(line)
    tool = next((tool for tool in tools if found and tool.name == found[1]), None)
    if tool is None:
        raise Unfit(BAD_CALL, f"{line[:60]}: {parsed.fault or 'not one call'}")
    try:
        values = loads(f"[{found[2]}]")
    except ValueError as fault:
        raise Unfit(BAD_CALL, f"{line[:60]}: {fault}") from None
    names = list(tool.properties)
    if len(values) > len(names):
        raise Unfit(BAD_CALL, f"{line[:60]}: more values than parameters")
    return Call(tool.name, dict(zip(names, values)))


def python_parameters(signature: str) -> dict[str, Any]:
    """`a: str, b: int = 3` as a bare map of parameters: type, `required`, and the default that is a literal."""
    parameters: dict[str, Any] = {}
    for piece in _pieces(signature):
        found = _KEYWORD.match(piece)
        if found is None or piece.strip() in ("*", "/"):
            continue
        name, kind, default = found.groups()
        parameters[name] = {"required": default is None}
        if kind:
            parameters[name]["type"] = kind
        if default is not None:
            with contextlib.suppress(ValueError):
                parameters[name]["default"] = loads(default)
    return parameters


def _pieces(text: str) -> list[str]:
    """The pieces between commas outside of brackets and quotes."""
    pieces, depth, quote, start = [], 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    return [piece for piece in (*pieces, text[start:]) if piece.strip()]
