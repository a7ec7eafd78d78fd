"""Rows that hold one dialogue each, in ShareGPT's or OpenAI's form, cut into tasks: what many data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.chat_text import split_system
from toolrm_jax.sources.drops import NO_TOOLS, Drops, Unfit, each
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.sharegpt import add_messages
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.toolcalls.types import Task

Row = dict[str, Any]
"""`messages` or `conversations`; where they stand apart, `tools` or `functions`, and `system`; `id` if it has one."""


def read_dialogues(
    path: Path | None,
    drops: Drops,
    source: str,
    licence: str,
    category: Callable[[Row, Path], str],
    into: Callable[[Row], Row] = lambda row: row,
) -> Iterator[Task]:
    """The tasks of every row of every file at or below `path`. `into` brings a row into the shape of `Row` first."""
    for file in files(path, source):
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops)))

        def make(_: str, item: tuple[int, Row], file: Path = file) -> Iterator[Task]:
            number, row = item
            id = f"{source}/{row.get('id', f'{file.stem}/{number}')}"
            return _tasks(into(row), id, source, category(row, file), licence, drops)

        yield from each(numbered, make, drops)


def _tasks(row: Row, id: str, source: str, category: str, licence: str, drops: Drops) -> Iterator[Task]:
    messages = row["messages"] if "messages" in row else row["conversations"]
    tools = read_tools(row.get("tools") or row.get("functions") or [])
    said = Transcript()
    system = row.get("system") or ""
    first = messages[0] if messages else {}
    if "system" in (first.get("role"), first.get("from")):
        system = "\n\n".join(text for text in (system, first.get("content") or first.get("value")) if text)
        messages = messages[1:]
    policy, listed = split_system(system)
    if not (tools or listed):
        raise Unfit(NO_TOOLS)
    said.system(policy)
    add_messages(said, messages)
    return segments(said.finish(id, source, category, licence, tools or listed), drops)
