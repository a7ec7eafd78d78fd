"""Seal-Tools (Wu et al., NLPCC 2024): one query, one or several calls, which may use each other's responses.

`<split>.jsonl` holds queries and calls, `dataset_for_finetune/<split>.json` the tools on offer, `tool.jsonl` what
these are. `API_call_0` as a value is the first response of the calls before; a system message tells that rule.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NO_TOOLS, NOT_READABLE, UNKNOWN_TOOL, Drops, Unfit, each
from toolrm_jax.sources.literals import fitted
from toolrm_jax.sources.rows import rows
from toolrm_jax.sources.tools import read_tool
from toolrm_jax.sources.trajectories import check_calls, single
from toolrm_jax.toolcalls.types import Call, Message, Reference, Task, Tool

LICENCE = "Apache-2.0"
SYSTEM = Message(
    "system",
    "The responses of your calls are named API_call_0, API_call_1 and so on, in the order of the calls and of each "
    "call's responses. A later call may take such a name as a value.",
)
_OFFERED = re.compile(r"'api_name': '([^']+)'")
_RESPONSE = re.compile(r"API_call_\d+")
_STAND_INS = {"integer": 1, "number": 1.0, "boolean": True, "string": "text"}


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of every split in the folder `Seal-Tools_Dataset` at or below `path`."""
    folder = _folder(path)
    tools = {row["api_name"]: _tool(row) for _, row in rows(folder / "tool.jsonl", drops, ("api_name",))}
    for file in sorted(folder.glob("*.jsonl")):
        if file.name not in ("tool.jsonl", "field.jsonl"):
            offered = _offered(folder / "dataset_for_finetune" / f"{file.stem}.json", drops)

            def make(_: str, row: dict[str, Any], split: str = file.stem, offered: Any = offered) -> tuple[Task, ...]:
                return (_task(row, split, offered, tools),)

            yield from each(rows(file, drops, ("id", "query", "calling")), make, drops)


def _folder(path: Path | None) -> Path:
    if path is None:
        raise DataError("source 'seal_tools' has no usual place; give path=FOLDER of fairyshine/Seal-Tools")
    found = [path / "tool.jsonl", *path.rglob("tool.jsonl")] if path.is_dir() else []
    folder = next((item.parent for item in found if item.is_file()), None)
    if folder is None:
        raise DataError(f"{path}: no tool.jsonl there; give the folder of fairyshine/Seal-Tools")
    return folder


def _tool(row: dict[str, Any]) -> Tool:
    tool = read_tool(row)
    names = ", ".join(row["responses"])
    return dataclasses.replace(tool, description=f"{tool.description}. Responses: {names}") if names else tool


def _offered(file: Path, drops: Drops) -> dict[str, list[str]]:
    """Names of the tools on offer by id: the prompts hold the tools as Python text, of which names are enough."""
    found = {}
    for _, row in rows(file, drops, ("id", "conversations")):
        prompt = row["conversations"][0]["value"].partition("task_instruction = ")[0]
        found[row["id"]] = list(dict.fromkeys(_OFFERED.findall(prompt)))
    return found


def _task(row: dict[str, Any], split: str, offered: Mapping[str, list[str]], tools: Mapping[str, Tool]) -> Task:
    names = offered.get(row["id"])
    if not names:
        raise Unfit(NO_TOOLS, row["id"])
    if unknown := [name for name in names if name not in tools]:
        raise Unfit(UNKNOWN_TOOL, f"{row['id']}: {unknown[0]!r} is offered but not defined")
    calls = tuple(fitted(Call(item["api"], item["parameters"]), tools.get(item["api"])) for item in row["calling"])
    if not calls:
        raise Unfit(NOT_READABLE, f"{row['id']}: no calls")
    nested = any(map(_uses_response, calls))
    at_hand = tuple(tools[name] for name in names)
    check_calls(at_hand, tuple(_stood_in(call, at_hand) for call in calls) if nested else calls)
    messages = (SYSTEM, Message("user", row["query"]))
    id = f"seal_tools/{row['id']}"
    task = single(id, "seal_tools", split, LICENCE, at_hand, messages, None)
    return dataclasses.replace(task, reference=Reference(calls, ordered=nested))


def _uses_response(call: Call) -> bool:
    return any(isinstance(value, str) and _RESPONSE.search(value) for value in call.arguments.values())


def _stood_in(call: Call, tools: tuple[Tool, ...]) -> Call:
    """The call with values of the right type where it uses a response, which may be of any type."""
    schema = next((tool.properties for tool in tools if tool.name == call.name), {})
    arguments = {
        name: _STAND_INS.get(schema.get(name, {}).get("type"), value)
        if isinstance(value, str) and _RESPONSE.fullmatch(value)
        else value
        for name, value in call.arguments.items()
    }
    return Call(call.name, arguments)
