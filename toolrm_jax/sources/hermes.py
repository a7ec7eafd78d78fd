"""Hermes function-calling v1 (Nous Research, 2024): single- and multi-turn calls in `<tool_call>` blocks.

A system message holds the tools in `<tools>`, often as Python literals, and so are many calls and results; `tools` is
a JSON string where it is there. The rows on structured output offer no tools and drop out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.dialogues import Row, read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "Apache-2.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`; the category is the row's, or the file's name."""
    return read_dialogues(path, drops, "hermes", LICENCE, _category, _one_list_of_tools)


def _category(row: Row, file: Path) -> str:
    return str(row.get("category") or file.stem)


def _one_list_of_tools(row: Row) -> Row:
    """The system message repeats the tools of the column, with mistakes of its own."""
    return row if row.get("tools") not in (None, "", "[]", "null") else {**row, "tools": None}
