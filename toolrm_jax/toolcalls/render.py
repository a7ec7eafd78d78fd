"""Calls, tools and messages as text: the forms a model reads and writes.

`render_hermes` gives, byte for byte, what the chat templates of Qwen2.5 and Qwen3 give for the same calls, so nothing
inside a JSON string is escaped beyond what JSON asks for: `parse_hermes` reads strings, and a `</tool_call>` inside
one does not end a block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Call, Message, Tool


def render_hermes(calls: Sequence[Call], text: str = "") -> str:
    """An assistant's content: `text`, then one `<tool_call>` block per call, joined by newlines.

    Raises DataError where an argument is not JSON (NaN, Infinity, Python objects).
    """
    blocks = [
        f'<tool_call>\n{{"name": {_json(call, call.name)}, "arguments": {_json(call, call.arguments)}}}\n</tool_call>'
        for call in calls
    ]
    return "\n".join([text, *blocks] if text else blocks)


def render_python(calls: Sequence[Call]) -> str:
    """Calls as BFCL's prompted models write them: `[f(a=1), g.h(b='x')]`, values as Python literals.

    Names are written as they are: one that is no Python name gives a text that `parse_python` refuses.
    Raises DataError where an argument is not JSON.
    """
    return f"[{', '.join(_python_call(call) for call in calls)}]"


def openai_tool(tool: Tool) -> dict[str, Any]:
    """The tool as chat templates and OpenAI's interface take it; `parameters` is shared, not copied."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def openai_message(message: Message) -> dict[str, Any]:
    """The message as chat templates take it: like OpenAI's, but with `arguments` as a mapping.

    Templates that write arguments through `tojson` (Qwen2.5, Llama) would quote a JSON string twice.
    """
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        out["name"] = message.name
    if message.calls:
        out["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in message.calls
        ]
    return out


def _python_call(call: Call) -> str:
    _json(call, call.arguments)
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"


def _json(call: Call, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"call of {call.name!r}: its arguments are not JSON ({error}); give JSON values only") from None
