"""API-Bank (Li et al., EMNLP 2023): dialogues of a user, an assistant and its APIs, a turn a line.

Level 1 offers the APIs of the dialogue. At level 2 the assistant looks for each with `ToolSearcher`, and a tool is on
offer from the search on that finds it.

Definitions are those that searches give, else those of `data/all_apis.csv`, which is older than the dialogues: there
a parameter that no call uses is left out, and one that calls use beside it has the type of its values.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NOT_READABLE, UNKNOWN_TOOL, Drops, Unfit, each
from toolrm_jax.sources.literals import fitted, loads
from toolrm_jax.sources.rows import rows
from toolrm_jax.sources.tools import read_tool
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.sources.type_names import schema_of
from toolrm_jax.toolcalls.types import Call, Context, Task, Tool

LICENCE = "Apache-2.0"
LEVELS = {"level-1-given-desc": "level-1", "level-2-toolsearcher": "level-2"}
SEARCHER = "ToolSearcher"
_SEARCH_TOOL = {
    "name": SEARCHER,
    "description": "Searches for relevant tools in library based on the keywords.",
    "parameters": {"keywords": {"type": "str", "description": "The keyword to search for."}},
}
_INFO = re.compile(
    r"description = (?P<about>.+?)\s*input_parameters = (?P<inputs>\{.*?\})\s*(?:output_parameters|$)", re.DOTALL
)
_SIGNATURE = re.compile(r"(\w+)\s*:\s*([\w.\[\], ]+?)\s*(?:=[^,]*)?(?:,|$)")


Dialogue = tuple[Path, str, list[dict[str, Any]]]
"""A file, its level, and its turns."""


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of both levels in the folder `api-bank` at or below `path`, in order of file names."""
    folder = _folder(path)
    dialogues: list[Dialogue] = []
    for name, level in LEVELS.items():
        named = ((str(file), file) for file in sorted((folder / "lv1-lv2-samples" / name).glob("*.jsonl")))
        dialogues += each(named, lambda _, file, level=level: ((file, level, _turns(file)),), drops)
    tools = read_definitions(folder / "data" / "all_apis.csv", [turns for _, _, turns in dialogues], drops)
    named = ((str(dialogue[0]), dialogue) for dialogue in dialogues)
    yield from each(named, lambda _, dialogue: _tasks(*dialogue, tools, drops), drops)


def _turns(file: Path) -> list[dict[str, Any]]:
    turns = [turn for _, turn in rows(file, Drops(strict=True), ("role",))]
    for turn in turns:
        if turn["role"] == "API" and not isinstance(turn["param_dict"], dict):
            raise Unfit(NOT_READABLE, "param_dict is no object")
    return turns


def _folder(path: Path | None) -> Path:
    if path is None:
        raise DataError("source 'apibank' has no usual place; give path=FOLDER of DAMO-ConvAI/api-bank")
    found = [path / "lv1-lv2-samples", *path.rglob("lv1-lv2-samples")]
    folder = next((item.parent for item in found if item.is_dir()), None)
    if folder is None:
        raise DataError(f"{path}: no lv1-lv2-samples there; give the folder of DAMO-ConvAI/api-bank")
    return folder


def read_definitions(file: Path, dialogues: Sequence[Sequence[dict[str, Any]]], drops: Drops) -> dict[str, Tool]:
    """Tools by name. The table's definitions are Python assignments, read without running them."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            table = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error}); fetch it again") from None
    used: dict[str, dict[str, Any]] = {}
    found: dict[str, Tool] = {SEARCHER: read_tool(_SEARCH_TOOL)}
    for turn in (turn for turns in dialogues for turn in turns if turn["role"] == "API"):
        used.setdefault(turn["api_name"], {}).update(turn["param_dict"])
        if turn["api_name"] == SEARCHER:
            for item in _items(turn["result"]["output"]):
                found.setdefault(item["name"], read_tool(item))
    named = ((f"{file}:{row.get('类名')}", row) for row in table)
    tools = {tool.name: tool for tool in each(named, lambda _, row: (_definition(row),), drops)}
    return {**{name: _up_to_date(tool, used.get(name)) for name, tool in tools.items()}, **found}


def _up_to_date(tool: Tool, used: dict[str, Any] | None) -> Tool:
    if used is None or used.keys() <= tool.properties.keys():
        return tool
    properties = {name: schema for name, schema in tool.properties.items() if name in used}
    for name, value in used.items():
        properties.setdefault(name, schema_of(type(value).__name__))
    return dataclasses.replace(tool, parameters={"type": "object", "properties": properties})


def _definition(row: dict[str, str]) -> Tool:
    name, info = row["类名"], _INFO.search(row["api_info"])
    try:
        about, inputs = (loads(info["about"]), loads(info["inputs"])) if info else ("", None)
    except ValueError:  # an empty map with a note inside
        about, inputs = "", None
    if inputs is None:  # what is left is the signature
        signed = _SIGNATURE.findall(row["input_parameters"].strip("() "))
        inputs = {parameter: {"type": kind} for parameter, kind in signed}
    return read_tool({"name": name, "description": about, "parameters": inputs})


def _tasks(
    file: Path, level: str, turns: list[dict[str, Any]], tools: Mapping[str, Tool], drops: Drops
) -> Iterator[Task]:
    said = Transcript()
    for turn in turns:
        if turn["role"] == "User":
            said.user(turn["text"])
        elif turn["role"] == "AI":
            said.assistant(turn["text"])
        elif turn["role"] == "API":
            call = Call(turn["api_name"], turn["param_dict"])
            said.assistant("", (fitted(call, tools.get(call.name)),))
            said.result(_result(turn["result"]), turn["api_name"])
        else:
            raise Unfit(NOT_READABLE, f"role {turn['role']!r}")
    called = [turn["api_name"] for turn in turns if turn["role"] == "API"]
    listed = file.stem.split("-level-")[0].split("-") if level == "level-1" else []
    offered = tuple(tools[name] for name in dict.fromkeys((*listed, *called)) if name in tools)
    trajectory = said.finish(f"apibank/{level}/{file.stem}", "apibank", level, LICENCE, offered)
    for task in segments(trajectory, drops):
        if level == "level-2":
            yield from _within_reach(task, tools, drops)
        else:
            yield task


def _result(result: dict[str, Any]) -> str:
    """What the API gave: its output, or its exception as an error."""
    if result.get("exception"):
        return json.dumps({"error": result["exception"]}, ensure_ascii=False)
    output = result["output"]
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _within_reach(task: Task, tools: Mapping[str, Tool], drops: Drops) -> Iterator[Task]:
    """The task with those tools alone that searches so far have found; a call of another is a drop."""
    found = {SEARCHER: tools[SEARCHER]}
    for message in task.context.messages:
        if message.role == "tool" and message.name == SEARCHER:
            found |= {item["name"]: tools[item["name"]] for item in _items(json.loads(message.content))}
    missing = [call.name for call in task.reference.calls if call.name not in found]
    if missing:
        drops.add(UNKNOWN_TOOL, f"{task.id}: {missing[0]!r} was not searched for")
    else:
        yield dataclasses.replace(task, context=Context(tuple(found.values()), task.context.messages))


def _items(output: Any) -> list[dict[str, Any]]:
    """What a search found: one definition, or several."""
    return output if isinstance(output, list) else [output]
