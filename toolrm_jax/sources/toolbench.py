"""ToolBench (Qin et al., ICLR 2024): ChatGPT's searches over RapidAPI functions; the path that ended in an answer.

A file of `answer/` holds one search; its `train_messages` end with the winning path in OpenAI's form of 2023
(`function_call`, role `function`). Searches that did not win are left out, as no step of theirs is known to be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NO_ANSWER, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.rows import files, load
from toolrm_jax.sources.sharegpt import add_messages
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.toolcalls.types import Task

LICENCE = "Apache-2.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of the files `answer/<category>/<number>_*.json` at or below `path`."""

    def make(where: str, file: Path) -> Iterator[Task]:
        try:
            return _tasks(load(file), file, drops)
        except DataError as error:
            raise Unfit(NOT_READABLE, str(error).removeprefix(f"{where}: ")) from None

    yield from each(((str(file), file) for file in parts(path)), make, drops)


def parts(path: Path | None) -> list[Path]:
    """The files, one a search."""
    found = [file for file in files(path, "toolbench") if file == path or file.parent.parent.name == "answer"]
    if not found:
        raise DataError(f"{path}: no folder `answer` there; give ToolBench's data folder")
    return found


def _tasks(search: dict[str, Any], file: Path, drops: Drops) -> Iterator[Task]:
    answer = search["answer_generation"]
    if not (search["win"] and answer["valid_data"]):
        raise Unfit(NO_ANSWER, "the search found none")
    said = Transcript()
    for message in answer["train_messages"][-1]:
        if message["role"] == "user":
            said.user(message["content"].strip().removesuffix("Begin!").strip())
        else:
            add_messages(said, [message])
    category = file.parent.name
    id = f"toolbench/{category}/{file.stem.partition('_')[0]}"
    return segments(said.finish(id, "toolbench", category, LICENCE, read_tools(answer["function"])), drops)
