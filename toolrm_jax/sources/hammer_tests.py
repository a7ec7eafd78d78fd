"""The test files of Hammer (Lin et al., 2024): API-Bank, Seal-Tools and ToolAlpaca in one form.

Read from `data/test/original`; the folders `hammer` and `hammer2.1` hold the same items as prompts. Calls name their
tool `name` or `tool`, their values `arguments` or `parameters`. An assistant's message that ends a context began the
turn in words; the calls are to follow. Items derive from the sources of those names: what is
tested here must not be trained on there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import Drops, each
from toolrm_jax.sources.literals import fitted, read_calls
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.sharegpt import add_messages
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import Transcript, single
from toolrm_jax.toolcalls.types import Message, Reference, Task

LICENCE = "Apache-2.0"
_REQUEST = "Generate API Request:"
_FENCED = re.compile(r"```\s*(\[.*\])\s*```", re.DOTALL)


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of the files in `data/test/original` at or below `path`; the category is the file's name."""
    found = [file for file in files(path, "hammer_tests") if file == path or file.parent.name == "original"]
    if not found:
        raise DataError(f"{path}: no folder `original` there; give the folder of MadeAgents/Hammer")
    for file in found:
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops)))
        yield from each(numbered, lambda _, item, name=file.stem: (_task(name, *item),), drops)


def _task(name: str, number: int, row: dict[str, Any]) -> Task:
    query = row["query"]
    if isinstance(query, str):
        messages: tuple[Message, ...] = (Message("user", query),)
    else:
        said = Transcript()
        add_messages(said, [_plain(turn) for turn in query])
        messages = tuple(said.messages)
    tools = {tool.name: tool for tool in read_tools(row["tools"])}
    reference = Reference(tuple(fitted(call, tools.get(call.name)) for call in read_calls(row["answers"])))
    id = f"hammer_tests/{name}/{number}"
    return single(id, "hammer_tests", name, LICENCE, tuple(tools.values()), messages, reference)


def _plain(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn without the request that the prompt ends with, calls in a code fence as calls."""
    text = turn["content"].removesuffix(_REQUEST).rstrip()
    if turn["role"] == "assistant" and (fenced := _FENCED.fullmatch(text)):
        return {"role": "function_call", "content": fenced[1]}
    return {"role": turn["role"], "content": text}
