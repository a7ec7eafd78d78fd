"""Schema-Guided Dialogue (Rastogi et al., AAAI 2020): a decision point at every system turn.

The reference is the service call of that turn, or its words where it makes none. Tools are the intents of the
dialogue's services, called `<service>_<intent>`. Values of calls are text, numbers and booleans too, in the canonical
form (`2019-03-01` where the user said "tomorrow"); the user's own wording of a value counts as right as well.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.rows import load
from toolrm_jax.sources.trajectories import check_calls
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Stale, Task, Tool

LICENCE = "CC-BY-SA-4.0"
TODAY = datetime.date(2019, 3, 1)
"""The day on which all dialogues take place: "today" is this date in every canonical value."""
SYSTEM = Message("system", f"Today is {TODAY:%A}, {TODAY:%B} {TODAY.day}, {TODAY.year}.")
ANY = "dontcare"
"""The value that stands for the user's having no wish; calls leave such a parameter out."""


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all `dialogues_*.json` at or below `path`, each with the `schema.json` beside it."""
    for file in parts(path):
        yield from _read_file(file, drops)


def parts(path: Path | None) -> list[Path]:
    """The dialogue files: train, dev, test as their folders sort."""
    if path is None:
        raise DataError("source 'sgd' has no usual place; give path=FOLDER of dstc8-schema-guided-dialogue")
    found = [path] if path.is_file() else sorted(path.rglob("dialogues_*.json"))
    if not found:
        raise DataError(f"{path}: no dialogues_*.json there; give the folder of dstc8-schema-guided-dialogue")
    return found


def _read_file(file: Path, drops: Drops) -> Iterator[Task]:
    services = read_services(load_schema(file.parent / "schema.json"))
    dialogues = load(file)
    if not isinstance(dialogues, list):
        raise DataError(f"{file}: expected a list of dialogues; fetch it again")
    split = file.parent.name

    def make(_: str, dialogue: dict[str, Any]) -> Iterator[Task]:
        return tasks(dialogue, services, split, drops)

    yield from each(((f"{file}:{number}", item) for number, item in enumerate(dialogues, 1)), make, drops)


@functools.lru_cache(maxsize=8)
def load_schema(path: Path) -> Any:
    """The services of one split as published."""
    return load(path)


def read_services(schema: Any) -> dict[str, dict[str, Tool]]:
    """Tools by service and intent. Raises DataError for a file that is not SGD's schema."""
    try:
        return {
            service["service_name"]: {
                intent["name"]: _tool(service, intent, {slot["name"]: slot for slot in service["slots"]})
                for intent in service["intents"]
            }
            for service in schema
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"SGD: schema.json is not of the published form ({type(error).__name__}: {error})") from None


def _tool(service: dict[str, Any], intent: dict[str, Any], slots: Mapping[str, dict[str, Any]]) -> Tool:
    optional = intent["optional_slots"]
    names = [*intent["required_slots"], *(name for name in optional if name not in intent["required_slots"])]
    properties = {}
    for name in names:
        schema = {"type": "string", "description": slots[name]["description"]}
        if slots[name]["is_categorical"]:
            schema["enum"] = list(slots[name]["possible_values"])
        if optional.get(name, ANY) != ANY:
            schema["default"] = optional[name]
        properties[name] = schema
    parameters = {"type": "object", "properties": properties, "required": list(intent["required_slots"])}
    about = f"{intent['description']} ({service['description']})"
    return Tool(f"{service['service_name']}_{intent['name']}", about, parameters)


def tasks(
    dialogue: dict[str, Any], services: Mapping[str, Mapping[str, Tool]], split: str, drops: Drops
) -> Iterator[Task]:
    """The tasks of one dialogue as published. A call that fails the schema is one drop; the dialogue goes on."""
    id = f"sgd/{split}/{dialogue['dialogue_id']}"
    tools = tuple(tool for name in dialogue["services"] for tool in services[name].values())
    messages = [SYSTEM]
    told = _Told()
    for number, turn in enumerate(dialogue["turns"]):
        if turn["speaker"] == "USER":
            told.hear(turn["frames"])
            messages.append(Message("user", turn["utterance"]))
            continue
        if turn["speaker"] != "SYSTEM" or messages[-1].role != "user":
            raise Unfit(NOT_READABLE, f"turn {number} is of {turn['speaker']!r} after {messages[-1].role}")
        context = Context(tools, tuple(messages))
        frame = next((frame for frame in turn["frames"] if "service_call" in frame), None)
        if frame is None:
            yield Task(f"{id}/{number}", "sgd", split, LICENCE, context, Reference(text=turn["utterance"]))
        else:
            asked = frame["service_call"]
            tool = services[frame["service"]][asked["method"]]
            call = Call(tool.name, dict(asked["parameters"]))
            try:
                check_calls((tool,), (call,))
            except Unfit as fault:
                drops.add(fault.reason, f"{id}/{number}: {fault.detail}")
            else:
                reference = Reference((call,), accepted=(told.accepted(frame["service"], call, tool),))
                stale = told.stale(frame["service"], call)
                yield Task(f"{id}/{number}", "sgd", split, LICENCE, context, reference, stale)
            messages.append(Message("assistant", "", (call,)))
            messages.append(Message("tool", _results(frame.get("service_results", ())), (), tool.name))
        for frame in turn["frames"]:
            told.learn(frame["actions"])
        messages.append(Message("assistant", turn["utterance"]))


def _results(results: Sequence[Any]) -> str:
    return json.dumps(list(results), ensure_ascii=False)


class _Told:
    """What the user has said so far: per service and slot, every value in turn, the present one last."""

    __slots__ = ("canonical", "history", "wordings")

    def __init__(self) -> None:
        self.canonical: dict[tuple[str, str], str] = {}
        self.history: dict[tuple[str, str], list[str]] = {}
        self.wordings: dict[tuple[str, str], list[str]] = {}

    def learn(self, actions: Sequence[dict[str, Any]]) -> None:
        """Which canonical value each wording of a slot stands for."""
        for action in actions:
            slot = action["slot"]
            if slot:
                for said, meant in zip(action["values"], action.get("canonical_values") or action["values"]):
                    self.canonical[slot, said] = meant

    def hear(self, frames: Sequence[dict[str, Any]]) -> None:
        """A user turn: the state after it holds each slot's wordings, which all mean one value."""
        for frame in frames:
            self.learn(frame["actions"])
        for frame in frames:
            for slot, said in frame["state"]["slot_values"].items():
                if not said:
                    continue
                key = frame["service"], slot
                if self.wordings.get(key) == said:
                    continue
                self.wordings[key] = said
                meant = next((self.canonical[slot, one] for one in said if (slot, one) in self.canonical), said[0])
                self.history.setdefault(key, []).append(meant)

    def accepted(self, service: str, call: Call, tool: Tool) -> dict[str, list[Any]]:
        """Per parameter the canonical value, the user's wordings of it, and leaving out what equals the default."""
        found = {}
        for name, value in call.arguments.items():
            values = [value]
            for said in self.wordings.get((service, name), ()):
                if said not in values and self.canonical.get((name, said), value) == value:
                    values.append(said)
            if tool.properties[name].get("default") == value:
                values.append("")
            found[name] = values
        return found

    def stale(self, service: str, call: Call) -> tuple[Stale, ...]:
        """Values of the call's parameters that the user has since replaced by others, the latest first."""
        found = []
        for name, value in call.arguments.items():
            history = self.history.get((service, name), ())
            if len(history) > 1 and history[-1] == value:
                earlier = dict.fromkeys(past for past in reversed(history) if past not in (value, ANY))
                found += [Stale(0, name, past) for past in earlier]
        return tuple(found)
