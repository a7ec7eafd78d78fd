"""OpenAI's notation: an assistant message whose `tool_calls` hold arguments as JSON strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolrm_jax.toolcalls.parse_json import read_call
from toolrm_jax.toolcalls.parsed import Fault, Parsed, check_text, faulty, without_thinking
from toolrm_jax.toolcalls.types import Call


def parse_openai(message: Mapping[str, Any]) -> Parsed:
    """Calls of `tool_calls` and the stripped `content`; arguments may also be a mapping, as in Hugging Face's chats.

    A malformed call is a fault of the whole answer, e.g. "call 1: arguments: not JSON: ...".
    """
    content = message.get("content") if isinstance(message, Mapping) else None
    text = content if isinstance(content, str) else ""
    try:
        if not isinstance(message, Mapping):
            raise Fault(f"expected a message, found {type(message).__name__}")
        if content is not None and not isinstance(content, str):
            raise Fault(f"content is not a text but {type(content).__name__}")
        check_text(text)
        return Parsed(_calls(message.get("tool_calls")), without_thinking(text).strip())
    except Fault as fault:
        return faulty(text, fault)


def _calls(entries: Any) -> tuple[Call, ...]:
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise Fault(f"tool_calls is not a list but {type(entries).__name__}")
    calls = []
    for number, entry in enumerate(entries, 1):
        try:
            if not isinstance(entry, Mapping) or "function" not in entry:
                raise Fault("no function")
            calls.append(read_call(_with_text_arguments(entry["function"])))
        except Fault as fault:
            raise Fault(f"call {number}: {fault}") from None
    return tuple(calls)


def _with_text_arguments(function: Any) -> Any:
    """The function with its arguments as JSON text, so that a mapping passes the same checks as a string."""
    if not isinstance(function, Mapping) or isinstance(function.get("arguments", ""), str):
        return function
    try:
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Fault(f"arguments: not JSON: {error}") from None
    return {"name": function.get("name"), "arguments": arguments}
