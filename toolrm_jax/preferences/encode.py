"""Many groups as records: what tasks of one dialogue share (tools, earlier messages) is written to JSON once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from toolrm_jax.toolcalls.types import Context, Group, Record, Task

_KEPT = 4096  # texts; beyond that all are forgotten, as dialogues come one after another


class Encoder:
    """The same bytes as `shards.encode_group`, several times as fast over the turns of a dialogue."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[Any, str]] = {}  # by identity; the object is kept, so that its id is not reused

    def encode(self, group: Group) -> bytes:
        """One record."""
        rest = dataclasses.replace(group, task=_EMPTY).to_json()
        del rest["task"]
        return f'{{"task":{self._task(group.task)},{_text(rest)[1:]}'.encode("ascii")

    def _task(self, task: Task) -> str:
        bare = Task(task.id, task.source, task.category, task.licence, _NOTHING, task.reference, task.stale)
        head, _, tail = _text(bare.to_json()).partition(_HOLE)
        tools = self._shared(task.context.tools)
        messages = ",".join(map(self._shared, task.context.messages))
        return f'{head}"context":{{"tools":{tools},"messages":[{messages}]}}{tail}'

    def _shared(self, value: Record | tuple[Record, ...]) -> str:
        found = self._texts.get(id(value))
        if found is None:
            if len(self._texts) >= _KEPT:
                self._texts.clear()
            plain = [one.to_json() for one in value] if isinstance(value, tuple) else value.to_json()
            self._texts[id(value)] = found = (value, _text(plain))
        return found[1]


_NOTHING = Context((), ())
_EMPTY = Task("", "", "", "", _NOTHING)


_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""One for all: `json.dumps` with separators makes a new one at each call."""


def _text(value: Any) -> str:
    return _ENCODER.encode(value)


_HOLE = f'"context":{_text(_NOTHING.to_json())}'


def encode_groups(groups: Sequence[Group]) -> list[bytes]:
    """All records, in order."""
    encoder = Encoder()
    return [encoder.encode(group) for group in groups]
