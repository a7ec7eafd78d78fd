"""STAR (Mosig et al., 2020): people who play assistants look things up in 24 knowledge bases and answer.

Every query and every reply of the wizard is a decision point. A constraint's value is published as the text of an
expression: `"Alexis"` with its quotes, `9431`, `true`, or `api.is_at_least(4)`, which becomes `{"is_at_least": 4}`
(`api.is_equal_to` is the value itself).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import star_apis
from toolrm_jax.sources.drops import BAD_CALL, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.rows import load
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.toolcalls.types import Call, Task, Tool

LICENCE = "MIT"
FORMAT_VERSION = 7
_OPERATION = re.compile(r"api\.(\w+)\((.*)\)", re.DOTALL)
_CONDITIONS = frozenset(name for names in star_apis.CONDITIONS.values() for name in names)


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all dialogues in the folder `dialogues/` below `path`, in order of their numbers; or of one file."""

    def make(where: str, file: Path) -> Iterator[Task]:
        try:
            dialogue = load(file)
        except DataError as error:
            raise Unfit(NOT_READABLE, str(error).removeprefix(f"{where}: ")) from None
        return tasks(dialogue, drops)

    yield from each(((str(file), file) for file in parts(path)), make, drops)


def parts(path: Path | None) -> list[Path]:
    """The files, one a dialogue."""
    if path is None:
        raise DataError("source 'star' has no usual place; give path=FOLDER of RasaHQ/STAR")
    if path.is_file():
        return [path]
    found = [item for item in path.rglob("*.json") if item.stem.isdigit() and item.parent.name == "dialogues"]
    if not found:
        raise DataError(f"{path}: no dialogues/<number>.json there; give the folder of RasaHQ/STAR")
    return sorted(found, key=lambda item: int(item.stem))


@functools.cache
def tool(api: str) -> Tool:
    """A knowledge base as a tool."""
    return Tool(api, f"{api.replace('_', ' ').capitalize()}. {star_apis.ABOUT}.", star_apis.schema(api))


def tasks(dialogue: dict[str, Any], drops: Drops) -> Iterator[Task]:
    """The tasks of one dialogue as published; `happy` or `unhappy` (by whether the user's wish can be met)."""
    if (version := dialogue["FORMAT-VERSION"]) != FORMAT_VERSION:
        raise Unfit(NOT_READABLE, f"format version {version!r}, not {FORMAT_VERSION}")
    scenario = dialogue["Scenario"]
    apis = dict.fromkeys(item["Task"] for item in scenario["WizardCapabilities"])
    said = Transcript()
    said.system(scenario["WizardTask"])
    for event in dialogue["Events"]:
        who, action = event["Agent"], event["Action"]
        if action == "utter" and who == "User":
            said.user(event["Text"])
        elif action in ("utter", "pick_suggestion") and who == "Wizard":
            said.assistant(event["Text"])
        elif action == "query":
            try:
                said.assistant("", (Call(event["APIName"], arguments(event["APIName"], event["Constraints"])),))
            except Unfit as fault:
                said.assistant(json.dumps(event["Constraints"], ensure_ascii=False), fault=fault.detail)
        elif action == "return_item":
            said.result(json.dumps(event.get("Item") or {}, ensure_ascii=False), event.get("APIName"))
    id, category = f"star/{dialogue['DialogueID']}", "happy" if scenario["Happy"] else "unhappy"
    yield from segments(said.finish(id, "star", category, LICENCE, tuple(map(tool, apis))), drops)


def arguments(api: str, constraints: list[dict[str, Any]]) -> dict[str, Any]:
    """The constraints of a query as arguments. Raises Unfit for what is no value, and for two values of one name."""
    found: dict[str, Any] = {}
    for constraint in constraints:
        for name, published in constraint.items():
            new = value(published, star_apis.kind(api, name) == "text")
            old = found.get(name, new)
            if old != new and not (isinstance(old, dict) and isinstance(new, dict) and not old.keys() & new.keys()):
                raise Unfit(BAD_CALL, f"{name} has two values")
            found[name] = {**old, **new} if isinstance(new, dict) else new
    return found


def value(published: Any, is_text: bool = False) -> Any:
    """The value of one expression; with `is_text`, one that is bare stays the text it is (`9431`)."""
    if not isinstance(published, str):
        return published
    text = published.strip()
    operation = _OPERATION.fullmatch(text)
    if operation is None:
        return _literal(text, is_text)
    name, inner = operation.groups()
    if name == "is_equal_to":
        return value(inner, is_text)
    if name not in _CONDITIONS:
        raise Unfit(BAD_CALL, f"unknown operation {name!r}")
    return {name: value(inner, is_text)}


def _literal(text: str, is_text: bool) -> Any:
    quoted = text.startswith(('"', "[", "{"))
    if is_text and not quoted:
        return text
    try:
        return json.loads(text)
    except ValueError:
        if quoted:
            raise Unfit(BAD_CALL, f"not a value: {text}") from None
        return {"True": True, "False": False, "None": None}.get(text, text)
