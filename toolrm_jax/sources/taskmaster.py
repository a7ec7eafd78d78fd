"""Taskmaster-4 (coffee orders with API calls) and the human rewards of Taskmaster-3 and -4 (Google, CC BY 4.0).

`read` gives TM-4's dialogues: every call that the annotations hold between a customer's words and the reply is a
decision point, and so is the reply. `read_candidates` gives the reward rows: one answer each, which people called
good or bad. The good share of TM-3 (0.16) and TM-4 (0.86) is nearly opposite: the category says which it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.sources.drops import BAD_CALL, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.taskmaster_apis import TM3, TM4
from toolrm_jax.sources.trajectories import Transcript, segments
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Context,
    Group,
    Message,
    Reference,
    Task,
    Verdict,
)

LICENCE = "CC-BY-4.0"
TM3_NAME, TM4_NAME = "TM-3-2020", "TM-4-2024"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of TM-4's dialogues: the files `data_*.json` at or below `path`."""
    for file in parts(path):
        yield from each(rows(file, drops), lambda where, row: dialogue_tasks(row, drops), drops)


def parts(path: Path | None) -> list[Path]:
    """TM-4's dialogue files."""
    return files(path, "taskmaster", "data_*.json")


def dialogue_tasks(row: dict[str, Any], drops: Drops) -> Iterator[Task]:
    """The tasks of one dialogue as published."""
    said = Transcript()
    for utterance in row["utterances"]:
        if utterance["speaker"] == "user":
            said.user(utterance["text"])
            _add_annotations(said, utterance["annotations"])
        elif utterance["speaker"] == "assistant":
            said.assistant(utterance["text"])
        else:
            raise Unfit(NOT_READABLE, f"speaker {utterance['speaker']!r}")
    id = f"taskmaster/{row['conversation_id']}"
    yield from segments(said.finish(id, "taskmaster", TM4_NAME, LICENCE, TM4), drops)


def _add_annotations(said: Transcript, annotations: Sequence[dict[str, str]]) -> None:
    """`api_call`, `request`, `api_response`, `response`, again and again; a call without arguments has no request."""
    name, request, fault = "", "{}", None
    for annotation in annotations:
        kind, value = annotation["name"], annotation["value"]
        if kind == "api_call":
            name, request, fault = value, "{}", None
        elif kind == "request":
            request = value
        elif kind == "api_response":
            try:
                calls: tuple[Call, ...] = (Call(name, json.loads(request)),)
                said.assistant("", calls)
            except (ValueError, TypeError) as error:
                fault = f"{name}: {error}"
                said.assistant(f"{name}({request})", (), fault)
        elif kind == "response":
            said.result(value, name)
        else:
            raise Unfit(NOT_READABLE, f"annotation {kind!r}")


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """The reward rows of TM-3 and TM-4, a group with one candidate each.

    A good answer is the task's reference; where the answer is bad the task has none.
    """
    for file in files(path, "taskmaster", "reward_*.json"):
        name = TM3_NAME if file.parent.parent.name.startswith("TM-3") else TM4_NAME
        yield from each(rows(file, drops), lambda where, row, name=name: (reward_group(row, name),), drops)


def reward_group(row: dict[str, Any], name: str) -> Group:
    """One reward row as published; `name` is TM3_NAME or TM4_NAME."""
    if row["reward"] not in (0.0, 1.0):
        raise Unfit(NOT_READABLE, f"reward {row['reward']!r}")
    answer = _message(json.loads(row["generation"]))
    if answer.role != "assistant":
        raise Unfit(NOT_READABLE, "the generation is not the agent's")
    messages = tuple(_message(turn) for turn in json.loads(row["context"]))
    context = Context(TM3 if name == TM3_NAME else TM4, messages)
    right = row["reward"] == 1.0
    reference = Reference(answer.calls, answer.content or None) if right else None
    task = Task(f"taskmaster/{name}/{row['conversation_id']}", "taskmaster", name, LICENCE, context, reference)
    candidate = Candidate(answer.calls, answer.content, "model:taskmaster", row["generation"])
    reason = "people called it good" if right else "people called it bad"
    return Group(task, (candidate,), (Verdict(right, row["reward"], None, reason),))


def _message(turn: dict[str, Any]) -> Message:
    """`{"role", "text"}`, `{"role", "api": {name: arguments}}` or `{"role", "response": {name: result}}`."""
    role = {"agent": "assistant", "user": "user", "api": "tool"}[turn["role"]]
    if "api" in turn:
        if not all(isinstance(arguments, dict) for arguments in turn["api"].values()):
            raise Unfit(BAD_CALL, "arguments are no object")
        return Message(role, turn.get("text", ""), tuple(Call(*item) for item in turn["api"].items()))
    if "response" in turn:
        ((name, result),) = turn["response"].items()
        return Message(role, json.dumps(result, ensure_ascii=False), (), name)
    return Message(role, turn["text"])
