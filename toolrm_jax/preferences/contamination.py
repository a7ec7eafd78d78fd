"""What a training set may not share with a benchmark: functions, questions, and reference calls.

A task is left out if its reference calls a function that a benchmark's reference calls (names as split.py compares
them), if its user says what a benchmark's user says, letter case and spacing aside, or if its reference makes the very
calls of a benchmark's, with at least one argument. Each removal names the benchmark's task.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError
from toolrm_jax.files import write_file
from toolrm_jax.preferences.near import answer_hash, hash64, question
from toolrm_jax.preferences.split import function_key
from toolrm_jax.toolcalls.types import Record, Task

FUNCTION = "function"
QUESTION = "question"
CALLS = "calls"
KINDS = (FUNCTION, QUESTION, CALLS)


@dataclasses.dataclass(frozen=True, slots=True)
class Removed(Record):
    """A task that was left out: its id, what it shares (one of KINDS), with which task of a benchmark."""

    id: str
    source: str
    shares: str
    benchmark: str
    value: str


class Benchmarks:
    """Where each function, question and set of calls of some benchmarks comes from."""

    def __init__(self, seen: dict[str, dict[str, str]] | None = None) -> None:
        self._seen = seen or {kind: {} for kind in KINDS}

    def add(self, tasks: Iterable[Task]) -> None:
        """Take in a benchmark's tasks; of those that share something the first is named."""
        for task in tasks:
            for kind, _, key in _marks(task):
                self._seen[kind].setdefault(key, f"{task.source} {task.id}")

    def found_in(self, task: Task, kinds: Collection[str] = KINDS) -> Removed | None:
        """What the task shares with a benchmark, None if nothing. Checked in the order of KINDS."""
        for kind, value, key in _marks(task):
            if kind in kinds and (where := self._seen[kind].get(key)):
                return Removed(task.id, task.source, kind, where, value)
        return None

    def save(self, path: Path) -> None:
        """Write to a JSON file that `load` reads."""
        write_file(path, json.dumps(self._seen))

    @classmethod
    def load(cls, path: Path) -> Benchmarks:
        """The inverse of `save`."""
        seen: dict[str, Any] = json.loads(path.read_bytes())
        return cls(seen)


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise ConfigError for a kind that is none of KINDS."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"unknown kind of contamination {unknown[0]!r}; known: {', '.join(KINDS)}")


def _marks(task: Task) -> Iterator[tuple[str, str, str]]:
    """(kind, value to show, key) of all that a task must not share."""
    calls = task.reference.calls if task.reference else ()
    for name in dict.fromkeys(function_key(call.name) for call in calls):
        yield FUNCTION, name, name
    if asked := question(task):
        yield QUESTION, asked[:200], f"{hash64(asked):016x}"
    if any(call.arguments for call in calls):
        shown = "; ".join(f"{call.name}({', '.join(call.arguments)})" for call in calls)
        yield CALLS, shown[:200], f"{answer_hash(task):016x}"
