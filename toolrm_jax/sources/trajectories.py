"""Trajectories into tasks (method.md 3.1): normalise the messages, cut at each assistant message, validate the cuts.

A reader tells what was said through a `Transcript`, which joins what belongs to one turn and checks the order of
roles; `segments` turns the finished `Trajectory` into one Task per assistant message whose answer passes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import (
    BAD_ARGUMENTS,
    BAD_CALL,
    FAILED_RESULT,
    NO_USER,
    REPEATED_CALL,
    ROLE_ORDER,
    UNKNOWN_TOOL,
    Drops,
    Unfit,
)
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Call, Context, ErrorType, Message, Reference, Task, Tool

_FAILURE_WORD = re.compile(r"error|exception|fail|traceback|invalid|\bfalse\b|not found|unauthori[sz]ed", re.IGNORECASE)
_FAILURE_START = re.compile(
    r"\W*(?:\w+\s+)?(?:errors?\b|exception\b|traceback\b|failed\b|failure\b|\w+(?:error|exception):)", re.IGNORECASE
)
_BAD_STATUS = frozenset({"error", "failed", "failure", "fail"})
_FAULTS = frozenset({"error", "errors", "exception", "error_message"})


@dataclasses.dataclass(frozen=True, slots=True)
class Trajectory:
    """A whole dialogue. `faults` says, by the index of an assistant message, why its text is not the calls it means."""

    id: str
    source: str
    category: str
    licence: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    faults: Mapping[int, str] = dataclasses.field(default_factory=dict)


class Transcript:
    """Messages in the order they come. What one side says in several pieces becomes one message.

    Roles: the system first if at all; a tool's result only after calls, and after calls only results. Raises Unfit
    (ROLE_ORDER) otherwise.
    """

    __slots__ = ("faults", "messages")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.faults: dict[int, str] = {}

    def system(self, text: str) -> None:
        """What stands above the dialogue; no text, no message."""
        if self.messages:
            raise Unfit(ROLE_ORDER, "a system message after others")
        if text.strip():
            self.messages.append(Message("system", text))

    def user(self, text: str) -> None:
        """The user's words."""
        last = self._last("user")
        if last.role == "user":
            self.messages[-1] = Message("user", f"{last.content}\n{text}")
        else:
            self.messages.append(Message("user", text))

    def assistant(self, text: str, calls: Sequence[Call] = (), fault: str | None = None) -> None:
        """The assistant's words, its calls, or both; with a fault, `text` is what it wrote in place of calls."""
        last = self._last("assistant", calling=bool(calls))
        if last.role == "assistant":
            text = f"{last.content}\n{text}" if last.content and text else last.content or text
            self.messages[-1] = Message("assistant", text, (*last.calls, *calls))
        else:
            self.messages.append(Message("assistant", text, tuple(calls)))
        if fault is not None:
            self.faults[len(self.messages) - 1] = fault

    def result(self, text: str, name: str | None = None) -> None:
        """What a tool gave back."""
        last = self.messages[-1] if self.messages else None
        faulty = len(self.messages) - 1 in self.faults
        if last is None or not (last.role == "tool" or last.calls or faulty):
            raise Unfit(ROLE_ORDER, "a tool result without a call")
        self.messages.append(Message("tool", text, (), name))

    def finish(self, id: str, source: str, category: str, licence: str, tools: tuple[Tool, ...]) -> Trajectory:
        """All of it as a Trajectory."""
        return Trajectory(id, source, category, licence, tools, tuple(self.messages), self.faults)

    def _last(self, role: str, calling: bool = False) -> Message:
        """The message before; Unfit where calls await results, unless more calls of the same turn come."""
        last = self.messages[-1] if self.messages else Message("system")
        if last.role == "assistant" and not calling and (last.calls or len(self.messages) - 1 in self.faults):
            raise Unfit(ROLE_ORDER, f"{role} speaks before the calls have results")
        return last


def segments(trajectory: Trajectory, drops: Drops, points: Collection[int] | None = None) -> Iterator[Task]:
    """A Task per assistant message (of `points`, if given): what stands before it, with the message as reference.

    Messages that do not pass `check_answer`, or are followed by a tool result that reports failure, are counted
    drops; they stay in the contexts of later ones. A greeting before the user speaks is no answer and not counted.
    """
    messages = trajectory.messages
    asked = False
    for index, message in enumerate(messages):
        asked = asked or message.role == "user"
        if message.role != "assistant" or not asked or (points is not None and index not in points):
            continue
        where = f"{trajectory.id}/{index}"
        try:
            if index in trajectory.faults:
                raise Unfit(BAD_CALL, trajectory.faults[index])
            if message.calls:
                check_calls(trajectory.tools, message.calls)
                _check_results(messages, index)
        except Unfit as fault:
            drops.add(fault.reason, f"{where}: {fault.detail}" if fault.detail else where)
            continue
        context = Context(trajectory.tools, messages[:index])
        reference = Reference(message.calls, message.content or None)
        yield Task(where, trajectory.source, trajectory.category, trajectory.licence, context, reference)


def single(
    id: str,
    source: str,
    category: str,
    licence: str,
    tools: tuple[Tool, ...],
    messages: Sequence[Message],
    reference: Reference | None,
) -> Task:
    """A Task of one question, its reference checked like that of a segment. Raises Unfit."""
    if not any(message.role == "user" for message in messages):
        raise Unfit(NO_USER)
    if reference is not None and reference.calls:
        check_calls(tools, reference.calls)
    return Task(id, source, category, licence, Context(tools, tuple(messages)), reference)


def check_calls(tools: Sequence[Tool], calls: Sequence[Call]) -> None:
    """Raise Unfit unless every call is of an offered tool, fits its schema, and none is there twice."""
    for index, call in enumerate(calls):
        tool = next((tool for tool in tools if tool.name == call.name), None)
        if tool is None:
            raise Unfit(UNKNOWN_TOOL, repr(call.name)[:80])
        if call in calls[:index]:
            raise Unfit(REPEATED_CALL, repr(call.name)[:80])
        if not _fits_plainly(tool, call):
            _check_schema(tool, call)


def _check_schema(tool: Tool, call: Call) -> None:
    try:
        found = violations((tool,), call)
    except (DataError, ValueError) as error:
        raise Unfit(BAD_ARGUMENTS, str(error)) from None
    if found:
        reason = UNKNOWN_TOOL if found[0].kind is ErrorType.NAME else BAD_ARGUMENTS
        raise Unfit(reason, f"{tool.name}: {found[0].message}")


_PYTHON_TYPES = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
_PLAIN_KEYS = frozenset({"type", "description", "enum", "default", "title", "example_value"})


def _fits_plainly(tool: Tool, call: Call) -> bool:
    """Whether a call surely fits: scalar values alone. False means only that the slow check has to say."""
    properties = tool.parameters.get("properties")
    if not properties or not tool.parameters.keys() <= {"type", "properties", "required", "description"}:
        return False
    arguments = call.arguments
    for name in tool.parameters.get("required", ()):
        if name not in arguments:
            return False
    for name, value in arguments.items():
        schema = properties.get(name)
        if not isinstance(schema, dict):
            return False
        if "anyOf" in schema and schema.keys() <= {"anyOf", "description"}:
            if not any(_fits_scalar(branch, value) for branch in schema["anyOf"]):
                return False
        elif not _fits_scalar(schema, value):
            return False
    return True


def _fits_scalar(schema: dict[str, Any], value: Any) -> bool:
    if not schema.keys() <= _PLAIN_KEYS:
        return False
    kind = schema.get("type")
    if kind is not None:
        python = _PYTHON_TYPES.get(kind) if isinstance(kind, str) else None
        if python is None or not isinstance(value, python) or (kind != "boolean" and isinstance(value, bool)):
            return False
    return "enum" not in schema or (isinstance(value, str) and value in schema["enum"])


def _check_results(messages: Sequence[Message], index: int) -> None:
    for message in messages[index + 1 :]:
        if message.role != "tool":
            return
        if reports_failure(message.content):
            raise Unfit(FAILED_RESULT, message.content[:80])


def reports_failure(content: str) -> bool:
    """Whether a tool's reply says that the call failed.

    JSON: an error or exception that is not empty, `success` or `ok` that is false, a status of error or from 400 on,
    also one level down; text: it begins with an error's name.
    """
    if not _FAILURE_WORD.search(content) and '"status' not in content:
        return False
    text = content.strip()
    if text[:1] in ("{", "["):
        try:
            return _fails(json.loads(text), 1)
        except (ValueError, RecursionError):
            pass
    return _FAILURE_START.match(text) is not None


def _fails(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return _FAILURE_START.match(value) is not None
    if not isinstance(value, dict):
        return False
    for key, item in value.items():
        key = str(key).lower()
        if key in _FAULTS and item not in (None, "", False, 0, [], {}, "None", "null"):
            return True
        if key in ("success", "ok") and item is False:
            return True
        if key in ("status", "status_code", "code", "statuscode") and _is_bad_status(item):
            return True
        if depth and isinstance(item, dict) and _fails(item, depth - 1):
            return True
    return False


def _is_bad_status(status: Any) -> bool:
    if isinstance(status, str):
        return status.strip().lower() in _BAD_STATUS
    return isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600
