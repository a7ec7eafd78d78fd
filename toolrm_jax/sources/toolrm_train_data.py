"""`ibm-research/ToolRM-train-data` (Agarwal et al., 2025): right and wrong calls, the wrong ones of nine open models.

Columns: uuid, dataset_name, conversation, and as JSON text tools, tool_calls_correct, tool_calls_incorrect; and
generator_model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.chat_text import split_system
from toolrm_jax.sources.drops import BAD_CALL, SAME_ANSWERS, Drops, Unfit, each
from toolrm_jax.sources.literals import read_calls
from toolrm_jax.sources.rows import files, read_json, rows
from toolrm_jax.sources.sharegpt import add_messages
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import Transcript
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Reference, Task, Verdict

LICENCE = "Apache-2.0"
COLUMNS = ("uuid", "dataset_name", "conversation", "tools", "tool_calls_correct", "tool_calls_incorrect")


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """A group of two for every row of every file at or below `path`; the category is the row's `dataset_name`."""
    found = (item for file in files(path, "toolrm_train_data") for item in rows(file, drops, COLUMNS))
    numbered = ((where, (number, row)) for number, (where, row) in enumerate(found))
    yield from each(numbered, lambda _, item: (_group(*item),), drops)


def _group(number: int, row: dict[str, Any]) -> Group:
    said = Transcript()
    for turn in read_json(row["conversation"]):
        if (turn.get("role") or turn.get("from")) == "system":
            said.system(split_system(turn.get("content") or turn.get("value") or "")[0])
        else:
            add_messages(said, [turn])
    right = read_calls(row["tool_calls_correct"])
    context = Context(read_tools(row["tools"]), tuple(said.messages))
    id = f"toolrm_train_data/{row['uuid']}/{number}"  # a question may stand in several rows
    task = Task(id, "toolrm_train_data", row["dataset_name"], LICENCE, context, Reference(right))
    wrong = _wrong(row)
    if wrong.fault is None and wrong.calls == right:
        raise Unfit(SAME_ANSWERS, row["uuid"])
    verdicts = (Verdict(True, 1.0, None, "the source's calls"), Verdict(False, 0.0, None, "differs from them"))
    return Group(task, (Candidate(right, "", "reference"), wrong), verdicts)


def _wrong(row: dict[str, Any]) -> Candidate:
    """The model's calls; text that is none is a candidate with a fault."""
    published = row["tool_calls_incorrect"]
    maker = f"model:{row.get('generator_model') or 'unknown'}"
    try:
        return Candidate(read_calls(published), "", maker)
    except Unfit as fault:
        return Candidate(maker=maker, raw=str(published), fault=fault.detail or BAD_CALL)
