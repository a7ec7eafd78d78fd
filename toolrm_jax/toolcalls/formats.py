"""The notations of model families by name, for whoever has to say how a model writes its calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from toolrm_jax.toolcalls.parse_hermes import parse_hermes
from toolrm_jax.toolcalls.parse_marked import (
    parse_deepseek,
    parse_granite,
    parse_llama,
    parse_mistral,
    parse_unmarked,
    parse_xlam,
)
from toolrm_jax.toolcalls.parse_python import parse_python
from toolrm_jax.toolcalls.parsed import Parsed

FORMATS: Mapping[str, Callable[[str], Parsed]] = {
    "hermes": parse_hermes,  # Qwen, Hermes, Granite 4, SmolLM2 under our template
    "granite": parse_granite,
    "llama": parse_llama,
    "mistral": parse_mistral,
    "xlam": parse_xlam,
    "deepseek": parse_deepseek,
    "python": parse_python,  # models prompted for BFCL
    "json": parse_unmarked,  # bare or in Markdown: small models, whatever their template asks for
}
"""Each reads a text as that family writes it. Calls in a server's message are read by `parse_openai`."""

_SIGNS = re.compile(
    r"<tool_call>|<\|tool_call\|>|<function_call>|<function=|\[TOOL_CALLS\]|<｜tool▁call|<\|python_tag\|>|<\|python_start\|>"
    r"|(?:^[ \t]*+|(?:```[a-z]*+|<tools>)\s*+)\[?\s*+\{\s*+\"(?:name|tool_calls)\"\s*+:",
    re.MULTILINE,
)


def looks_like_calls(text: str) -> bool:
    """Whether a text that was read as words bears the marks of some family's calls: another notation than was said."""
    return _SIGNS.search(text) is not None


def notations_of(text: str) -> tuple[str, ...]:
    """The notations in which a text holds calls and no fault."""
    return tuple(name for name, parse in FORMATS.items() if parse(text).calls)
