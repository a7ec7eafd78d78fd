"""glaive-function-calling-v2 as released: two texts a row, `system` and `chat`, with marks for who speaks.

`SYSTEM: … functions. Use them if required -` and JSON objects; `USER:`, `ASSISTANT: … <|endoftext|>`,
`ASSISTANT: <functioncall> {"name": …, "arguments": '{…}'}` (JSON in single quotes in JSON), `FUNCTION RESPONSE:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.chat_text import listed_tools
from toolrm_jax.sources.dialogues import Row
from toolrm_jax.sources.drops import BAD_CALL, NO_TOOLS, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.literals import read_calls
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.toolcalls.types import Task, Tool

LICENCE = "Apache-2.0"
_SPEAKER = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
_CALL = "<functioncall>"
_END = "<|endoftext|>"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`."""
    for file in files(path, "glaive_v2"):
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops, ("system", "chat"))))
        yield from each(
            numbered, lambda _, item, stem=file.stem: _tasks(f"glaive_v2/{stem}/{item[0]}", item[1], drops), drops
        )


def _tasks(id: str, row: Row, drops: Drops) -> Iterator[Task]:
    tools = _tools(row["system"])
    said = Transcript()
    pieces = _SPEAKER.split(row["chat"])
    if pieces[0].strip():
        raise Unfit(NOT_READABLE, f"the chat begins with {pieces[0].strip()[:40]!r}")
    for speaker, text in zip(pieces[1::2], pieces[2::2]):
        text = text.replace(_END, "").strip()
        if speaker == "USER":
            said.user(text)
        elif speaker == "FUNCTION RESPONSE":
            said.result(text)
        else:
            _add_answer(said, text)
    return segments(said.finish(id, "glaive_v2", "multi_turn", LICENCE, tools), drops)


def _tools(system: str) -> tuple[Tool, ...]:
    start = system.find("{")
    if start < 0:
        raise Unfit(NO_TOOLS)
    return listed_tools(system[start:])


def _add_answer(said: Transcript, text: str) -> None:
    words, called, call = text.partition(_CALL)
    if not called:
        said.assistant(words.strip())
        return
    try:
        said.assistant(words.strip(), read_calls(call.strip()))
    except Unfit as fault:
        said.assistant(text, (), fault.detail or BAD_CALL)
