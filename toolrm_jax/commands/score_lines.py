"""Reading the input of `toolrm score`: a context and candidates per JSON line, in OpenAI's notation.

{"tools": […], "messages": […], "candidates": [{"tool_calls": [{"name", "arguments"}…]} | {"content": "…"}]}

Tools and calls may stand wrapped in {"type": "function", "function": {…}}; arguments are objects or JSON texts; an
assistant's message may hold tool calls, a tool's message names the call it answers by `name` or `tool_call_id`.
Other keys are ignored.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.parse import parse_openai
from toolrm_jax.toolcalls.schema import check_tool
from toolrm_jax.toolcalls.types import Candidate, Context, Message, Tool


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """What one line asks for; `where` is its FILE:LINE."""

    where: str
    context: Context
    candidates: tuple[Candidate, ...]


def read_lines(path: Path | str) -> Iterator[Line]:
    """Every line of the file in order. Raises DataError, which begins with FILE:LINE, at the first that is bad."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            for number, text in enumerate(file, 1):
                yield read_line(text, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file of JSON lines") from None


def read_line(text: bytes | str, where: str) -> Line:
    """One line. Raises DataError that begins with `where`."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is empty" if not text.strip() else " ".join(str(error).split())
        raise DataError(f"{where}: not JSON ({why}); mend or remove the line") from None
    try:
        if not isinstance(row, Mapping):
            raise DataError(f"expected an object with tools, messages and candidates, found {_kind(row)}")
        tools = tuple(_tool(tool, n) for n, tool in enumerate(_list(row, "tools"), 1))
        messages = _messages(_list(row, "messages"))
        candidates = tuple(_candidate(each, n) for n, each in enumerate(_list(row, "candidates"), 1))
        return Line(where, Context(tools, messages), candidates)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    if name not in row:
        raise DataError(f"{name!r} is missing; give tools, messages and candidates")
    if not isinstance(row[name], list):
        raise DataError(f"{name!r} is {_kind(row[name])}; give a list")
    return row[name]


def _tool(value: Any, number: int) -> Tool:
    inner = value.get("function", value) if isinstance(value, Mapping) else value
    if not isinstance(inner, Mapping):
        raise DataError(f"tool {number} is {_kind(inner)}; give an object with name, description and parameters")
    name = inner.get("name")
    if not isinstance(name, str):
        raise DataError(f"tool {number} has no name; give every tool a name")
    if "parameters" not in inner:
        raise DataError(f"tool {name!r} has no schema; give its parameters as a JSON Schema of type 'object'")
    if not isinstance(inner["parameters"], dict):
        raise DataError(f"tool {name!r}: its parameters are {_kind(inner['parameters'])}; give a JSON Schema")
    description = inner.get("description")
    if not isinstance(description, str | None):
        raise DataError(f"tool {name!r}: its description is {_kind(description)}; give a text")
    tool = Tool(name, description or "", inner["parameters"])
    check_tool(tool)
    return tool


def _messages(values: list[Any]) -> tuple[Message, ...]:
    if not values:
        raise DataError("'messages' is empty; give the conversation up to the answer")
    names: dict[str, str] = {}
    found = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, Mapping):
            raise DataError(f"message {number} is {_kind(value)}; give an object with role and content")
        parsed = parse_openai({"tool_calls": _wrapped(value.get("tool_calls"), f"message {number}")})
        if parsed.fault:
            raise DataError(f"message {number}: {parsed.fault}")
        for call, entry in zip(parsed.calls, value.get("tool_calls") or ()):
            if isinstance(entry.get("id"), str):
                names[entry["id"]] = call.name
        name = value.get("name") or names.get(str(value.get("tool_call_id")))
        content = _content(value.get("content"), f"message {number}")
        try:
            found.append(Message(value.get("role"), content, parsed.calls, name))
        except DataError as error:
            raise DataError(f"message {number}: {error}") from None
    return tuple(found)


def _candidate(value: Any, number: int) -> Candidate:
    where = f"candidate {number}"
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is {_kind(value)}; give an object with tool_calls or content")
    if value.get("tool_calls") is None and value.get("content") is None:
        raise DataError(f"{where} has neither tool_calls nor content; give one of them")
    parsed = parse_openai(
        {"content": _content(value.get("content"), where), "tool_calls": _wrapped(value.get("tool_calls"), where)}
    )
    if parsed.fault:
        raise DataError(f"{where}: {parsed.fault}; mend it, or give what the model wrote as content")
    return Candidate(calls=parsed.calls, text=parsed.text)


def _wrapped(calls: Any, where: str) -> list[Any] | None:
    """Calls in OpenAI's wrapping, whichever form they came in."""
    if calls is None:
        return None
    if not isinstance(calls, list):
        raise DataError(f"{where}: tool_calls is {_kind(calls)}; give a list")
    for number, call in enumerate(calls, 1):
        if not isinstance(call, Mapping):
            raise DataError(f"{where}: call {number} is {_kind(call)}; give an object with name and arguments")
    return [call if "function" in call else {"function": call} for call in calls]


def _content(value: Any, where: str) -> str:
    """A message's text, which OpenAI also writes as a list of text parts."""
    if value is None or isinstance(value, str):
        return value or ""
    texts = [part.get("text") for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(texts) != len(value) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: its content is no text; images and other parts cannot be read")
    return "".join(texts)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
