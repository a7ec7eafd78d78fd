"""Glaive function calling in ShareGPT's form, as LLaMA-Factory's demo files have it (English and Chinese).

`reason_tool_use_demo_50.jsonl` beside them has OpenAI roles with contents in parts: `text`, `reasoning`, `tool_call`.
Reasoning is not part of the answer and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.dialogues import Row, read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "Apache-2.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`; the category is the file's name."""
    return read_dialogues(path, drops, "glaive", LICENCE, lambda row, file: file.stem, _without_parts)


def _without_parts(row: Row) -> Row:
    if "messages" not in row:
        return row
    return {**row, "messages": [turn for message in row["messages"] for turn in _turns(message)]}


def _turns(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    role, parts = message["role"], message["content"]
    if isinstance(parts, str):
        yield message
        return
    words = "\n".join(part["value"] for part in parts if part["type"] == "text")
    calls = [part["value"] for part in parts if part["type"] == "tool_call"]
    if words or not calls:
        yield {"role": role, "content": words}
    yield from ({"role": "function_call", "content": call} for call in calls)
