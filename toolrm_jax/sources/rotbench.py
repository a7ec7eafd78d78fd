"""RoTBench (Ye et al., EMNLP 2024): one question under five levels of noise in tool and parameter names.

Files `Data/{First,Third}_Turn/{clean,slight,medium,heavy,union}.json`. Tools stand as JSON in the system message; the
last message lists the accepted answers as `Thought:/Action:/Action Input:`. The noisy files are the clean questions
again, so split by question (`question_of`), never by file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import BAD_CALL, NO_ANSWER, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.literals import loads
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task, Tool

LICENCE = "Apache-2.0"
LEVELS = ("clean", "slight", "medium", "heavy", "union")
TURNS = {"First_Turn": "first", "Third_Turn": "third"}
_TOOLS = re.compile(r"following tools:\s*(\[.*\])\s*Let's Begin!", re.DOTALL)
_ACTION = re.compile(r"Thought:(.*?)\s*\nAction:\s*(.*?)\s*\nAction Input:\s*(.*)", re.DOTALL)
_POLICY = "\n\nTask description:"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all ten files; the category is `first/clean` and so on, the reference the first accepted answer."""
    for task, _ in read_accepted(path, drops):
        yield task


def read_accepted(path: Path | None, drops: Drops) -> Iterator[tuple[Task, tuple[Call, ...]]]:
    """Each task with every accepted answer, one call each."""
    found = [file for file in files(path, "rotbench") if file.stem in LEVELS and file.parent.name in TURNS]
    if not found:
        raise DataError(f"{path}: no First_Turn/clean.json there; give the folder of Junjie-Ye/RoTBench")
    for file in sorted(found, key=lambda file: (file.parent.name, LEVELS.index(file.stem))):
        category = f"{TURNS[file.parent.name]}/{file.stem}"
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops)))
        yield from each(numbered, lambda _, item, name=category: (_task(name, *item),), drops)


def question_of(task: Task) -> str:
    """The question's words, the same at every level."""
    return next(message.content for message in task.context.messages if message.role == "user")


def _task(category: str, number: int, row: dict[str, Any]) -> tuple[Task, tuple[Call, ...]]:
    first, *turns = row["conversations"]
    *turns, last = turns
    if first["from"] != "system" or not (found := _TOOLS.search(first["value"])):
        raise Unfit(NOT_READABLE, "the first message lists no tools")
    tools = tuple(_tool(doc) for doc in json.loads(found[1]))
    accepted = tuple(_call(text)[1] for text in last["value"])
    if not accepted:
        raise Unfit(NO_ANSWER, row["id"])
    messages = [Message("system", _policy(first["value"]))]
    for turn in turns:
        messages += _message(turn, messages)
    # The same question is asked more than once in a file, each time with other names.
    task = Task(
        f"rotbench/{category}/{number}",
        "rotbench",
        category,
        LICENCE,
        Context(tools, tuple(messages)),
        Reference((accepted[0],)),
    )
    return task, accepted


def _tool(doc: dict[str, Any]) -> Tool:
    return Tool(doc["name"], doc.get("description") or "", doc.get("parameters") or {"type": "object"})


def _policy(system: str) -> str:
    """What the system message asks, without the form of answers and the tools, which the chat template brings."""
    rules = system.partition("\n\nDesired format:")[0]
    finish = 'Always use the "finish" tool upon task completion.'
    return f"{rules}\n\n{finish}" if finish in system else rules


def _message(turn: dict[str, Any], before: list[Message]) -> list[Message]:
    text = turn["value"]
    if turn["from"] == "user":
        return [Message("user", text.removesuffix("Begin!\n").rstrip())]
    if turn["from"] == "assistant":
        thought, call = _call(text)
        return [Message("assistant", thought, (call,))]
    if turn["from"] == "function":
        name = before[-1].calls[0].name if before[-1].calls else None
        return [Message("tool", text, (), name)]
    raise Unfit(NOT_READABLE, f"unknown role {turn['from']!r}")


def _call(text: str) -> tuple[str, Call]:
    """The thought and the call of `Thought: …\\nAction: name\\nAction Input: {…}`."""
    found = _ACTION.search(text)
    if found is None:
        raise Unfit(BAD_CALL, text)
    values = loads(found[3].strip() or "{}")
    if not isinstance(values, dict):
        raise Unfit(BAD_CALL, text)
    return found[1].strip(), Call(found[2], values)
