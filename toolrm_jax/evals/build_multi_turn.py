"""Pairs of BFCL's multi-turn runs: at the first turn that ends in a wrong state, the ground truth over what was done.

A run is cut where it first fails by BFCL's state-based checker: the turns before stand in the context with the tools'
real answers, the calls of the ground truth for that turn are right, and the model's own calls of that turn, all its
steps in order, are wrong; its words only where it called nothing, since the ground truth has none. (The papers do not
say how they made one step of a turn; this is our choice.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.evals.build_pairs import Pair
from toolrm_jax.evals.multi_turn import FORCE_TERMINATED, INFERENCE_ERROR, Run, RunVerdict, read_turns, verdicts
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_checker import error_type
from toolrm_jax.sources.bfcl_multi_turn import LICENCE, RESULT, Questions, context_before, result_files
from toolrm_jax.sources.bfcl_outputs import REFERENCE, Answer, Graded
from toolrm_jax.sources.drops import UNKNOWN_TASK, Drops, Unfit
from toolrm_jax.sources.python_calls import python_call
from toolrm_jax.sources.rows import rows
from toolrm_jax.toolcalls.types import Call, Candidate, Reference, Task, Verdict

NOTHING_RIGHT = "the turn's ground truth calls nothing"
CUT_SHORT = "the run broke off"


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedRun:
    """One published run: its row, who ran it, its category, and the checker's input."""

    row: dict[str, Any]
    model: str
    category: str
    run: Run


def read_runs(path: Path | str, drops: Drops) -> list[PublishedRun]:
    """Every multi-turn run at or below `path`. Raises DataError where there are none."""
    files = result_files(Path(path))
    if not files:
        raise DataError(f"{path}: no BFCL_v4_multi_turn_*_result.json there; give a folder of runs")
    folder = bfcl.find_folder()
    questions = Questions(folder, drops)
    found = []
    for file in files:
        category = RESULT.fullmatch(file.name)[1]
        answers = folder / "possible_answer" / f"BFCL_v4_{category}.json"
        truths = {row["id"]: row["ground_truth"] for _, row in rows(answers, drops)}
        model = f"{file.parent.parent.name}@{file.parents[3].name}"
        for where, row in rows(file, drops, ("id", "result")):
            question = questions.rows.get(row["id"])
            if question is None or row["id"] not in truths:
                drops.add(UNKNOWN_TASK, where)
                continue
            tools = frozenset(tool.name for tool in questions.tools(question))
            run = Run(question, truths[row["id"]], read_turns(row["result"]), tools)
            found.append(PublishedRun(row, model, category, run))
    return found


def pairs(runs: Sequence[PublishedRun], drops: Drops, category: str = "multi_turn_base") -> Iterator[Pair]:
    """A pair for every failed run of the category that was not cut short by its own interface."""
    some = [one for one in runs if one.category == category]
    found = verdicts([one.run for one in some])
    broken = (FORCE_TERMINATED, INFERENCE_ERROR)
    failed = [(one, verdict) for one, verdict in zip(some, found) if not verdict.right and verdict.label not in broken]
    for verdict in found:
        if verdict.label in broken:
            drops.add(CUT_SHORT, verdict.label)
    turns = failing_turns([one.run for one, _ in failed])
    questions = Questions(bfcl.find_folder(), drops)
    for (one, verdict), turn in zip(failed, turns):
        try:
            yield _pair(one, verdict, turn, questions)
        except Unfit as fault:
            drops.add(fault.reason, f"{one.row['id']} of {one.model}: {fault.detail}")


def failing_turns(runs: Sequence[Run]) -> list[int]:
    """The first turn (from 0) after which each failing run is in a wrong state."""
    found = [0] * len(runs)
    open_runs = list(range(len(runs)))
    for limit in range(1, max((len(run.truth) for run in runs), default=0) + 1):
        checked = verdicts([runs[k] for k in open_runs], limit)
        for k, verdict in zip(open_runs, checked):
            if not verdict.right:
                found[k] = limit - 1
        open_runs = [k for k, verdict in zip(open_runs, checked) if verdict.right]
    return found


def _pair(one: PublishedRun, verdict: RunVerdict, turn: int, questions: Questions) -> Pair:
    tools = questions.tools(one.run.question)
    context = context_before(one.row, one.run.question, tools, turn)
    truth = tuple(python_call(line, tools) for line in one.run.truth[turn])
    if not truth:
        raise Unfit(NOTHING_RIGHT, str(turn))
    made: tuple[Call, ...] = tuple(call for step in one.run.turns[turn] for call in step)
    task = Task(one.row["id"], "bfcl_multi_turn", one.category, LICENCE, context, Reference(truth, ordered=True))
    words = " ".join(step for step in one.row["result"][turn] if isinstance(step, str))
    right = Answer(Candidate(truth, "", REFERENCE), Verdict(True, 1.0), "", (REFERENCE,))
    wrong = Answer(
        Candidate(made, "" if made else words, f"model:{one.model}"),
        Verdict(False, 0.0, error_type(verdict.label), verdict.message),
        verdict.label,
        (one.model,),
    )
    return Pair(Graded(task, (right, wrong)), right, wrong)
