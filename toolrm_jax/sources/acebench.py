"""ACEBench (Chen et al., 2025), English and Chinese: normal, special and agent questions.

A question is text with `user:` and `system:` (the assistant) at the beginning of lines. A normal answer is
`{function: {parameter: value}}`, `f_1` and `f_2` where `f` is called twice. A special one has no call but what is
missing or wrong. An agent one is the state that must result: there is no reference, only a question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NO_ANSWER, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import Transcript, single
from toolrm_jax.toolcalls.types import Call, Reference, Task, Tool

LICENCE = "MIT"
_SPEAKER = re.compile(r"^(user|system)\s*[:：]\s*", re.MULTILINE)
_NUMBER = re.compile(r"_\d+$")


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all `data_*.json` at or below `path`; the category is `en/` or `zh/` and the file's name."""
    for file in files(path, "acebench", "data_*.json"):
        if file.parent.name == "possible_answer":
            continue
        answers = file.parent / "possible_answer" / file.name
        if not answers.is_file():
            raise DataError(f"{answers}: is missing; give the folder data_all of ACEBench")
        known = {row["id"]: row["ground_truth"] for _, row in rows(answers, drops, ("id", "ground_truth"))}
        language = file.parent.name.removeprefix("data_")
        name = file.stem.removeprefix("data_")

        def make(_: str, row: dict[str, Any], known: Any = known, where: Any = (language, name)) -> tuple[Task, ...]:
            return (_task(row, known, *where),)

        yield from each(rows(file, drops, ("id", "question", "function")), make, drops)


def _task(row: dict[str, Any], answers: dict[str, Any], language: str, name: str) -> Task:
    if row["id"] not in answers:
        raise Unfit(NO_ANSWER, row["id"])
    tools = read_tools(row["function"])
    said = Transcript()
    said.system("\n".join(text for text in (row.get("time"), row.get("profile")) if text))
    _add_question(said, row["question"])
    reference = None if name.startswith("agent") else _reference(answers[row["id"]], tools, name)
    id = f"acebench/{language}/{row['id']}"
    return single(id, "acebench", f"{language}/{name}", LICENCE, tools, said.messages, reference)


def _add_question(said: Transcript, question: str) -> None:
    before, *pieces = _SPEAKER.split(question)
    if before.strip():
        said.user(before.strip())
    for speaker, text in zip(pieces[::2], pieces[1::2]):
        if speaker == "user":
            said.user(text.strip())
        else:
            said.assistant(text.strip())


def _reference(truth: Any, tools: tuple[Tool, ...], name: str) -> Reference:
    if name == "special_irrelevant":
        return Reference(text=str(truth))
    if name == "special_incomplete":
        asked = "; ".join(f"{', '.join(missing)} of {function}" for function, missing in truth.items())
        return Reference(text=f"I need more information before I can help: {asked}.")
    if name == "special_error_param":
        wrong = "; ".join(f"{json.dumps(values, ensure_ascii=False)} as {key}" for key, values in truth.items())
        return Reference(text=f"I cannot use what you gave: {wrong}.")
    first, *others = truth if isinstance(truth, list) else [truth]
    calls = tuple(Call(_known(function, tools), arguments) for function, arguments in first.items())
    if not calls:
        raise Unfit(NOT_READABLE, "an answer without calls")
    if not others:
        return Reference(calls)
    if len(calls) > 1 or any(set(other) != set(first) for other in others):
        raise Unfit(NO_ANSWER, "alternatives that are not one call of one function")
    every = [next(iter(one.values())) for one in (first, *others)]
    accepted = {key: [one.get(key, "") for one in every] for one in every for key in one}
    return Reference(calls, accepted=(accepted,))


def _known(function: str, tools: tuple[Tool, ...]) -> str:
    """The tool's name without the number that tells its calls apart."""
    names = {tool.name for tool in tools}
    return function if function in names else _NUMBER.sub("", function)
