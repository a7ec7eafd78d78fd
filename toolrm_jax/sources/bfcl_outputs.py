"""Answers of real models to BFCL's single-turn questions, each with BFCL's own verdict, as groups.

From result files in every published layout (`bfcl_answers`), decoded and graded here, one group a question; or from
a pool of graded answers (`single_turn_pool.jsonl`), where only answers count whose question was worded as today's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_answers import read_answers
from toolrm_jax.sources.bfcl_checker import check
from toolrm_jax.sources.drops import NO_ANSWER, UNKNOWN_TASK, Drops, Unfit, each
from toolrm_jax.sources.rows import rows
from toolrm_jax.toolcalls.equality import canonical
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Group, Task, Verdict

POOL = "single_turn_pool.jsonl"


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """Groups in the order of BFCL's questions. `path`: a pool, a folder that holds one, a result file, or a folder.

    Raises DataError where nothing of the kind is there, or bfcl-eval's questions are missing.
    """
    if path is None:
        raise DataError("source 'bfcl_outputs' has no usual place; give path=FOLDER of BFCL's result files")
    pool = path / POOL if path.is_dir() else path
    if pool.suffix == ".jsonl" and pool.is_file():
        yield from _from_pool(pool, drops)
    else:
        yield from _from_results(path, drops)


def answers_by_task(path: Path, drops: Drops) -> dict[str, tuple[Candidate, ...]]:
    """What models answered to each question, by the task's id; distinct answers once, without anybody's verdict.

    `path` and errors as in `read_candidates`.
    """
    pool = path / POOL if path.is_dir() else path
    if not (pool.suffix == ".jsonl" and pool.is_file()):
        return {question: tuple(answers.values()) for question, answers in _distinct(path, drops).items()}

    def make(_: str, row: dict[str, Any]) -> tuple[tuple[str, tuple[Candidate, ...]]]:
        members = (_pooled(answer, side == "right") for side in ("right", "wrong") for answer in row[side])
        return ((row["id"], tuple(candidate for candidate, _ in members)),)

    return dict(each(rows(pool, drops, ("id", "right", "wrong")), make, drops))


def _tasks() -> dict[str, Task]:
    return {task.id: task for task in bfcl.read()}


def _from_pool(pool: Path, drops: Drops) -> Iterator[Group]:
    tasks = _tasks()

    def make(where: str, row: dict[str, Any]) -> tuple[Group, ...]:
        members = [_pooled(answer, True) for answer in row["right"]] + [
            _pooled(answer, False) for answer in row["wrong"]
        ]
        return (_group(tasks, row["id"], members),)

    yield from each(rows(pool, drops, ("id", "right", "wrong")), make, drops)


def _pooled(answer: dict[str, Any], right: bool) -> tuple[Candidate, Verdict]:
    """One distinct answer: `call` in BFCL's form, or `raw` where it could not be decoded; the first model counts."""
    maker = f"model:{answer['models'][0]}"
    error = None if right else ErrorType(answer["error_type"])
    verdict = Verdict(right, float(right), error, "" if right else _line(answer.get("bfcl_error")))
    if answer["call"] is None:
        raw = answer.get("raw") or ""
        raw = raw if isinstance(raw, str) else str(raw)
        return Candidate(maker=maker, raw=raw, fault="not a list of calls"), verdict
    calls = tuple(Call(name, arguments) for call in answer["call"] for name, arguments in call.items())
    return Candidate(calls, "", maker), verdict


def _from_results(path: Path, drops: Drops) -> Iterator[Group]:
    tasks, answers = _tasks(), _distinct(path, drops)

    def make(_: str, item: tuple[str, Sequence[Candidate]]) -> tuple[Group, ...]:
        question, candidates = item
        if question not in tasks:
            raise Unfit(UNKNOWN_TASK, question)
        category = tasks[question].category
        return (_group(tasks, question, [(one, _graded(category, question, one)) for one in candidates]),)

    found = (
        (question, (question, list(answers[question].values()))) for question in sorted(answers, key=_order(tasks))
    )
    yield from each(found, make, drops)


def _distinct(path: Path, drops: Drops) -> dict[str, dict[Any, Candidate]]:
    """Answers per question, distinct ones once: about 12,000 for BFCL's whole archive of 2024."""
    answers: dict[str, dict[Any, Candidate]] = {}
    for question, _, candidate in read_answers(path, drops):
        key = candidate.fault is None, canonical(candidate.calls, fold_case=False) if candidate.calls else candidate.raw
        answers.setdefault(question, {}).setdefault(key, candidate)
    return answers


def _order(tasks: Mapping[str, Task]) -> Any:
    places = {id: place for place, id in enumerate(tasks)}
    return lambda question: (places.get(question, len(places)), question)


def _graded(category: str, question: str, candidate: Candidate) -> Verdict:
    if candidate.fault is not None:
        return Verdict(False, 0.0, ErrorType.FORMAT, _line(candidate.fault))
    found = check(category, question, candidate.calls)
    return Verdict(found.right, float(found.right), found.error_type, _line(found.message))


def _group(tasks: Mapping[str, Task], question: str, members: list[tuple[Candidate, Verdict]]) -> Group:
    if question not in tasks:
        raise Unfit(UNKNOWN_TASK, question)
    if not members:
        raise Unfit(NO_ANSWER, question)
    return Group(dataclasses.replace(tasks[question], source="bfcl_outputs"), *zip(*members))


def _line(message: Any) -> str:
    text = "; ".join(map(str, message)) if isinstance(message, list) else str(message or "")
    return " ".join(text.split())[:200]
