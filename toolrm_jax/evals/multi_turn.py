"""State-based verdicts on BFCL's multi-turn runs, by bfcl-eval's own checker in a separate, limited process.

The checker runs the calls of a run and of the ground truth on simulated tools and compares state and answers after
every turn. Calls reach it as text built here from parsed calls, with literals for arguments; a call of no known tool
becomes one that fails there, as it does in BFCL.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import Unfit
from toolrm_jax.sources.literals import read_call
from toolrm_jax.toolcalls.types import Call

FORCE_TERMINATED = "multi_turn:force_terminated"
INFERENCE_ERROR = "multi_turn:inference_error"
UNKNOWN_CALL = "not_a_tool_on_offer()"
MAX_TEXT = 20_000
"""Longest text of one call that is checked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A model's run of one question: per turn its steps, each a list of calls. `question` is BFCL's row.

    `turns` is None where the model's interface failed and there is nothing to run.
    """

    question: dict[str, Any]
    truth: Sequence[Sequence[str]]
    turns: Sequence[Sequence[Sequence[Call]]] | None
    tools: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class RunVerdict:
    """Whether the run ended every turn in the right state; if not, BFCL's label and message."""

    right: bool
    label: str = ""
    message: str = ""


def verdicts(runs: Sequence[Run], truth_limit: int | None = None) -> list[RunVerdict]:
    """BFCL's verdict on each run. Raises DataError where bfcl-eval is missing or the process dies.

    With `truth_limit` only so many turns are checked.
    """
    found: list[RunVerdict | None] = [_without_running(run) for run in runs]
    asked = [k for k, verdict in enumerate(found) if verdict is None]
    lines = [json.dumps(_line(runs[k], truth_limit)) for k in asked]
    for k, answer in zip(asked, _ask(lines), strict=True):
        found[k] = RunVerdict(answer["valid"], answer["label"], answer["message"])
    return found


def read_turns(result: Any) -> list[list[list[Call]]] | None:
    """The calls of a published `result`: a list over turns of lists over steps; None where it is no such list.

    Steps without calls, in words or of another form count for nothing, as in BFCL.
    """
    if not isinstance(result, list):
        return None
    return [[calls for step in turn if (calls := _step(step))] for turn in result if isinstance(turn, list)]


def _step(step: Any) -> list[Call]:
    if not isinstance(step, list):
        return []
    try:
        return [read_call({"name": n, "arguments": a}) for call in step for n, a in call.items()]
    except (Unfit, DataError, AttributeError):
        return []


def _without_running(run: Run) -> RunVerdict | None:
    if run.turns is None:
        return RunVerdict(False, INFERENCE_ERROR, "the run is no list of turns")
    if len(run.turns) != len(run.truth):
        return RunVerdict(False, FORCE_TERMINATED, f"{len(run.turns)} turns of {len(run.truth)}")
    return None


def _line(run: Run, limit: int | None) -> dict[str, Any]:
    turns = [[[call_text(call, run.tools) for call in step] for step in turn] for turn in run.turns]
    question = {name: run.question[name] for name in ("id", "initial_config", "involved_classes")}
    return {"turns": turns[:limit], "truth": list(run.truth)[:limit], "question": question}


def call_text(call: Call, tools: Iterable[str]) -> str:
    """The call as Python with literal arguments; of a tool that is not on offer, a call that fails."""
    if call.name not in tools or not call.name.isidentifier():
        return UNKNOWN_CALL
    if not all(name.isidentifier() for name in call.arguments):
        return f"{call.name}({UNKNOWN_CALL})"
    text = f"{call.name}({','.join(f'{name}={value!r}' for name, value in call.arguments.items())})"
    return text if len(text) <= MAX_TEXT else UNKNOWN_CALL


def _ask(lines: Sequence[str]) -> list[dict[str, Any]]:
    if not lines:
        return []
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONHASHSEED": "0"}
    # No names in paths: BFCL's package writes files beside where it is started.
    with tempfile.TemporaryDirectory() as folder:
        environment["BFCL_PROJECT_ROOT"] = folder
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("multi_turn_process.py"))],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(lines):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f"BFCL's multi-turn checker ended after {len(answers)} of {len(lines)} runs ({last}); "
            "run `pip install --no-deps bfcl-eval`"
        )
    return answers
