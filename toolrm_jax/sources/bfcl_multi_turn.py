"""BFCL's multi-turn questions, and published runs of models on them with the tools' real answers.

`read(None)`, or a folder of bfcl-eval's data, gives the first turn of every question with its ground truth: later
turns depend on what the tools answer. `read` of a folder of runs gives the steps of runs that ended in the right
state. `read_candidates` gives whole runs, a group a question: right where the score file does not list it as failed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.drops import FAILED_RUN, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.literals import read_call
from toolrm_jax.sources.python_calls import python_call
from toolrm_jax.sources.rows import rows
from toolrm_jax.sources.trajectories import Transcript, segments, single
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Message, Reference, Task, Tool, Verdict

LICENCE = "Apache-2.0"
RUNS_LICENCE = "none stated"
CATEGORIES = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
DOCS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}
"""The file of function docs of every class."""
RESULT = re.compile(r"BFCL_v\d+_(multi_turn_\w+)_result\.json")


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """First turns from BFCL's data (None: the installed package), or steps of passed runs from a folder of runs."""
    runs = result_files(path)
    if runs:
        for file in runs:
            yield from _passed_steps(file, drops)
        return
    folder = bfcl.find_folder(path)
    questions = Questions(folder, drops)
    for category in CATEGORIES:
        truths = {row["id"]: row["ground_truth"] for _, row in rows(_file(folder / "possible_answer", category), drops)}

        def make(id: str, row: dict[str, Any], category: str = category, truths: Any = truths) -> tuple[Task, ...]:
            return (_first_turn(id, row, category, questions.tools(row), truths[id]),)

        yield from each(((row["id"], row) for _, row in rows(_file(folder, category), drops)), make, drops)


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """Whole runs, a group a question; the calls of all turns in order are one candidate."""
    questions = Questions(bfcl.find_folder(), drops)
    runs: dict[str, list[tuple[str, dict[str, Any], bool]]] = {}
    for file in result_files(path):
        failed = failed_ids(file, drops)
        maker = f"model:{file.parent.parent.name}@{file.parents[3].name}"
        for _, row in rows(file, drops, ("id", "result")):
            runs.setdefault(row["id"], []).append((maker, row, row["id"] not in failed))
    if not runs:
        raise DataError(f"{path}: no BFCL_v4_multi_turn_*_result.json there; give a folder of runs")
    yield from each(runs.items(), lambda id, some: (_run_group(id, some, questions),), drops)


def _file(folder: Path, category: str) -> Path:
    return folder / f"BFCL_v4_{category}.json"


def result_files(path: Path | None) -> list[Path]:
    """The multi-turn result files at or below `path`."""
    if path is None:
        return []
    found = [path] if path.is_file() else sorted(path.rglob("*_result.json"))
    return [file for file in found if RESULT.fullmatch(file.name)]


class Questions:
    """BFCL's questions and the tools of each, by id."""

    def __init__(self, folder: Path, drops: Drops) -> None:
        self.docs = {
            name: [bfcl.tool(row) for _, row in rows(folder / "multi_turn_func_doc" / f"{stem}.json", drops)]
            for name, stem in DOCS.items()
        }
        self.rows = {row["id"]: row for name in CATEGORIES for _, row in rows(_file(folder, name), drops)}

    def tools(self, row: dict[str, Any]) -> tuple[Tool, ...]:
        """All tools of a question, those that come only with a later turn too."""
        excluded = row.get("excluded_function", ())
        return tuple(tool for name in row["involved_classes"] for tool in self.docs[name] if tool.name not in excluded)


def _held_back(row: dict[str, Any], turn: int) -> set[str]:
    """Names of the tools that this turn does not have yet."""
    return {name for start, names in row.get("missed_function", {}).items() if int(start) > turn for name in names}


def _without(tools: tuple[Tool, ...], names: set[str]) -> tuple[Tool, ...]:
    return tuple(tool for tool in tools if tool.name not in names)


def _first_turn(id: str, row: dict[str, Any], category: str, tools: tuple[Tool, ...], truth: list[list[str]]) -> Task:
    tools = _without(tools, _held_back(row, 0))
    messages = [Message(turn["role"], turn["content"]) for turn in row["question"][0]]
    calls = tuple(python_call(line, tools) for line in truth[0])
    task = single(f"bfcl_multi_turn/{id}", "bfcl_multi_turn", category, LICENCE, tools, messages, Reference(calls))
    return dataclasses.replace(task, reference=Reference(calls, ordered=True))


def failed_ids(file: Path, drops: Drops) -> set[str]:
    """Ids of the questions that the score file beside a result file lists as failed."""
    parts = list(file.parts)
    parts[len(parts) - 1 - parts[::-1].index("result")] = "score"
    score = Path(*parts).with_name(file.name.replace("_result.json", "_score.json"))
    if not score.is_file():
        raise DataError(f"{score}: is missing, so nothing says which runs of {file.name} passed")
    (_, summary), *others = rows(score, drops)
    if "accuracy" not in summary:
        raise DataError(f"{score}: its first line is no summary; fetch it again")
    return {row["id"] for _, row in others}


def _passed_steps(file: Path, drops: Drops) -> Iterator[Task]:
    questions = Questions(bfcl.find_folder(), drops)
    failed = failed_ids(file, drops)
    category = RESULT.fullmatch(file.name)[1]
    run = f"{file.parent.parent.name}@{file.parents[3].name}"

    def make(_: str, row: dict[str, Any]) -> Iterator[Task]:
        if row["id"] in failed:
            raise Unfit(FAILED_RUN, row["id"])
        return _steps(f"bfcl_multi_turn/{run}/{row['id']}", row, questions, category, drops)

    yield from each(rows(file, drops, ("id", "result")), make, drops)


def _steps(id: str, row: dict[str, Any], questions: Questions, category: str, drops: Drops) -> Iterator[Task]:
    """Cut a run at its steps, each with the tools that its turn had."""
    question = questions.rows[row["id"]]
    said = Transcript()
    turn_of: list[int] = []
    turns = [entry for entry in row["inference_log"] if isinstance(entry, dict)]
    for turn, entry in enumerate(turns):
        for message in entry["begin_of_turn_query"]:
            said.user(message["content"])
        for name, step in entry.items():
            if name.startswith("step_"):
                _add_step(said, step)
        turn_of += [turn] * (len(said.messages) - len(turn_of))
    tools = questions.tools(question)
    trajectory = said.finish(id, "bfcl_multi_turn", category, RUNS_LICENCE, tools)
    for task in segments(trajectory, drops):
        held_back = _held_back(question, turn_of[len(task.context.messages)])
        yield dataclasses.replace(task, context=Context(_without(tools, held_back), task.context.messages))


def context_before(row: dict[str, Any], question: dict[str, Any], tools: tuple[Tool, ...], turn: int) -> Context:
    """What the model had before it when a run's turn `turn` (from 0) began: the turns before with the tools' answers.

    Raises Unfit where the run was published without its log.
    """
    turns = [entry for entry in row.get("inference_log") or () if isinstance(entry, dict)]
    if len(turns) <= turn:
        raise Unfit(NOT_READABLE, f"{row['id']}: no log of turn {turn}")
    said = Transcript()
    for entry in turns[:turn]:
        for message in entry["begin_of_turn_query"]:
            said.user(message["content"])
        for name, step in entry.items():
            if name.startswith("step_"):
                _add_step(said, step)
    for message in turns[turn]["begin_of_turn_query"]:
        said.user(message["content"])
    return Context(_without(tools, _held_back(question, turn)), tuple(said.messages))


def _add_step(said: Transcript, step: list[dict[str, Any]]) -> None:
    for message in step:
        if message["role"] == "assistant":
            content = message["content"]
            if isinstance(content, list):
                said.assistant("", _calls(content))
            elif content:
                said.assistant(content)
        elif message["role"] == "tool":
            said.result(_text(message["content"]))


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _calls(made: list[dict[str, Any]]) -> tuple[Call, ...]:
    """`[{name: arguments as JSON}]`."""
    return tuple(read_call({"name": name, "arguments": arguments}) for call in made for name, arguments in call.items())


def _run_group(id: str, runs: list[tuple[str, dict[str, Any], bool]], questions: Questions) -> Group:
    question = questions.rows.get(id)
    if question is None:
        raise Unfit(NOT_READABLE, f"no question {id!r}")
    said = Transcript()
    for turn in question["question"]:
        for message in turn:
            said.user(message["content"])
    context = Context(questions.tools(question), tuple(said.messages))
    task = Task(f"bfcl_multi_turn/{id}", "bfcl_multi_turn", id.rpartition("_")[0], RUNS_LICENCE, context)
    return Group(task, *zip(*(_run(*run) for run in runs)))


def _run(maker: str, row: dict[str, Any], passed: bool) -> tuple[Candidate, Verdict]:
    result = row["result"]
    verdict = Verdict(passed, float(passed), None, "ended in the right state" if passed else "did not pass")
    if not isinstance(result, list):
        return Candidate(maker=maker, raw=_text(result), fault="the run ended in an error"), verdict
    steps = [step for turn in result for step in turn if isinstance(step, list)]
    words = [step for turn in result for step in turn if isinstance(step, str)]
    try:
        calls = tuple(call for step in steps for call in _calls(step))
    except Unfit as fault:
        return Candidate(maker=maker, raw=_text(result), fault=fault.detail), verdict
    return Candidate(calls, "\n".join(words), maker, json.dumps(result, ensure_ascii=False)), verdict
