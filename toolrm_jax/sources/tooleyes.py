"""ToolEyes (Ye et al., 2024): 382 real requests in seven scenarios, with tools but without reference answers.

`scenario_data_zero_processed.json` holds the tools as JSON at the end of the system message, and the query after
`Turn 1: ` in `id`; `scenario_data_raw.json` beside it the scenario of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.chat_text import listed_tools
from toolrm_jax.sources.drops import NO_TOOLS, Drops, Unfit, each
from toolrm_jax.sources.rows import files, load, rows
from toolrm_jax.sources.trajectories import single
from toolrm_jax.toolcalls.types import Message, Task

LICENCE = "Apache-2.0"
PROCESSED, RAW = "scenario_data_zero_processed.json", "scenario_data_raw.json"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of the processed file at or below `path`, without references; the category is the scenario."""
    file = files(path, "tooleyes", PROCESSED)[0]
    scenarios = [row["scenario"] for row in load(file.with_name(RAW))]
    numbered = (
        (where, (number, row)) for number, (where, row) in enumerate(rows(file, drops, ("id", "conversations")))
    )
    yield from each(numbered, lambda _, item: (_task(*item, scenarios),), drops)


def _task(number: int, row: dict[str, Any], scenarios: list[str]) -> Task:
    system = row["conversations"][0]["value"]
    _, marked, listed = system.partition("tools:\n[")
    if not marked:
        raise Unfit(NO_TOOLS)
    tools = tuple(tool for tool in listed_tools("[" + listed.rpartition("]")[0] + "]") if tool.name != "finish")
    query = row["id"].partition("Turn 1: ")[2] or row["id"]
    id = f"tooleyes/{number}"
    return single(id, "tooleyes", scenarios[number], LICENCE, tools, (Message("user", query),), None)
