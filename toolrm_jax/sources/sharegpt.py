"""Dialogues in ShareGPT's and OpenAI's forms, whichever names they give to roles and whatever they put into texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from toolrm_jax.sources.chat_text import add_answer, add_results, button_results
from toolrm_jax.sources.drops import NOT_READABLE, Unfit
from toolrm_jax.sources.literals import read_calls
from toolrm_jax.sources.trajectories import Transcript

_ROLES = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("human", "user", "User"), "user"),
    **dict.fromkeys(("gpt", "assistant", "agent", "AI", "model"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls"), "calls"),
    **dict.fromkeys(("observation", "tool", "function", "api", "ipython", "tool_response"), "result"),
}


def add_messages(said: Transcript, messages: Sequence[dict[str, Any]]) -> None:
    """Put messages into the transcript. Raises Unfit where the roles are out of order or unknown.

    Known: `from`/`value` and `role`/`content`; calls as messages of their own, as `tool_calls` or `function_call`,
    or as tagged text; results as messages, or tagged in the user's; BUTTON's lists of results.
    """
    for message in messages:
        named = message["from"] if "from" in message else message["role"]
        role = _ROLES.get(named)
        content = message["value"] if "value" in message else message.get("content")
        text = content if isinstance(content, str) else "" if content is None else _text(content)
        if role == "system":
            said.system(text)
        elif role == "user":
            if text.lstrip().startswith("<tool_response>"):
                add_results(said, text)
            else:
                said.user(text)
        elif role == "calls":
            _add_calls(said, "", text)
        elif role == "assistant":
            made = message.get("tool_calls") or message.get("function_call")
            if made:
                _add_calls(said, text, made)
            else:
                add_answer(said, text)
        elif role == "result":
            _add_results(said, content, text, message.get("name"))
        else:
            raise Unfit(NOT_READABLE, f"unknown role {named!r}")


def _text(content: Any) -> str:
    """OpenAI's list of parts as text; other values as JSON."""
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        return "".join(part["text"] for part in content)
    return json.dumps(content, ensure_ascii=False)


def _add_calls(said: Transcript, text: str, made: Any) -> None:
    try:
        calls = read_calls(made)
    except Unfit as fault:
        said.assistant(made if isinstance(made, str) else json.dumps(made, ensure_ascii=False), (), fault.detail)
    else:
        said.assistant(text, calls)


def _add_results(said: Transcript, content: Any, text: str, name: str | None) -> None:
    if isinstance(content, list):  # one result a call, as ComplexFuncBench has them
        for item in content:
            said.result(item if isinstance(item, str) else json.dumps(item, ensure_ascii=False), name)
    elif text.lstrip().startswith("[") and '"results"' in text:
        for tool, result in button_results(text):
            said.result(result, tool or name)
    else:
        add_results(said, text, [name] if name else ())
