"""Recorded answers of many models to BFCL's questions with BFCL's verdicts: a source of groups, benchmarks, samples.

Read from a pool of graded answers (`single_turn_pool.jsonl`), or from result files in every published layout
(`bfcl_answers`), which are graded here by BFCL's AST checker. Equal answers are one, with all the models that gave it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_answers import read_answers
from toolrm_jax.sources.bfcl_checker import LANGUAGES, check
from toolrm_jax.sources.drops import NO_ANSWER, UNKNOWN_TASK, Drops, Unfit, each
from toolrm_jax.sources.rows import rows
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Group, Task, Verdict

FORMAT_LABEL = "ast_decoder:decoder_failed"
POOL = "single_turn_pool.jsonl"
POOL_FIELDS = ("id", "right", "wrong")
REFERENCE = "reference"
"""Maker of an answer that is BFCL's own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One distinct answer: who gave it, its verdict, and BFCL's own label where it is wrong."""

    candidate: Candidate
    verdict: Verdict
    label: str
    models: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Graded:
    """A question with every distinct answer to it, right ones first; those of one kind as they came."""

    task: Task
    answers: tuple[Answer, ...]

    @property
    def right(self) -> tuple[Answer, ...]:
        """The answers that BFCL accepts."""
        return tuple(one for one in self.answers if one.verdict.right)

    @property
    def wrong(self) -> tuple[Answer, ...]:
        """Those that it does not."""
        return tuple(one for one in self.answers if not one.verdict.right)

    def group(self) -> Group:
        """All answers as candidates."""
        return Group(self.task, tuple(a.candidate for a in self.answers), tuple(a.verdict for a in self.answers))

    def counts(self) -> tuple[int, ...]:
        """How many models gave each answer."""
        return tuple(len(one.models) for one in self.answers)


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """The answers to each question as a group. `path` and errors as in `read_graded`."""
    if path is None:
        raise DataError("source 'bfcl_outputs' has no usual place; give path=FOLDER of BFCL's result files")
    for one in read_graded(path, drops):
        yield dataclasses.replace(one.group(), task=dataclasses.replace(one.task, source="bfcl_outputs"))


def answers_by_task(path: Path, drops: Drops) -> dict[str, tuple[Candidate, ...]]:
    """What models answered to each question, by the task's id; distinct answers once, without anybody's verdict.

    `path` as in `read_graded`. Raises DataError where nothing of the kind is there.
    """
    pool = _pool(path)
    if pool is None:
        found = _distinct(path, drops)
        return {question: tuple(candidate for candidate, _ in some.values()) for question, some in found.items()}

    def make(_: str, row: dict[str, Any]) -> tuple[tuple[str, tuple[Candidate, ...]]]:
        return ((row["id"], tuple(one.candidate for one in _pooled_answers(row))),)

    return dict(each(rows(pool, drops, POOL_FIELDS), make, drops))


def read_graded(path: Path | str, drops: Drops | None = None) -> Iterator[Graded]:
    """Graded answers by question, in BFCL's order, from a pool, a folder that holds one, or raw result files.

    Raises DataError where nothing of the kind is there, or bfcl-eval's questions are missing.
    """
    path, drops = Path(path), Drops() if drops is None else drops
    tasks = {task.id: task for task in bfcl.read()}
    if (pool := _pool(path)) is not None:
        yield from _from_pool(pool, tasks, drops)
    else:
        yield from _from_results(path, tasks, drops)


def _pool(path: Path) -> Path | None:
    """The pool that `path` is, or holds; None for result files."""
    pool = path / POOL if path.is_dir() else path
    return pool if pool.suffix == ".jsonl" and pool.is_file() else None


def _from_pool(pool: Path, tasks: Mapping[str, Task], drops: Drops) -> Iterator[Graded]:
    def make(where: str, row: dict[str, Any]) -> tuple[Graded, ...]:
        if row["id"] not in tasks:
            raise Unfit(UNKNOWN_TASK, row["id"])
        if not (answers := _pooled_answers(row)):
            raise Unfit(NO_ANSWER, row["id"])
        return (Graded(tasks[row["id"]], tuple(answers)),)

    yield from each(rows(pool, drops, POOL_FIELDS), make, drops)


def _pooled_answers(row: Mapping[str, Any]) -> list[Answer]:
    return [_pooled(answer, side == "right") for side in ("right", "wrong") for answer in row[side]]


def _pooled(answer: Mapping[str, Any], right: bool) -> Answer:
    label = "" if right else str(answer.get("bfcl_error_type") or "")
    reason = "" if right else _line(answer.get("bfcl_error"))
    verdict = Verdict(right, float(right), None if right else ErrorType(answer["error_type"]), reason)
    models = tuple(answer["models"])
    if answer["call"] is None:
        raw = answer.get("raw")
        candidate = Candidate(raw=raw if isinstance(raw, str) else str(raw or ""), fault="not a list of calls")
    else:
        candidate = Candidate(tuple(Call(name, values) for call in answer["call"] for name, values in call.items()))
    return Answer(dataclasses.replace(candidate, maker=f"model:{models[0]}"), verdict, label, models)


def _distinct(path: Path, drops: Drops) -> dict[str, dict[str, tuple[Candidate, list[str]]]]:
    """By question, each distinct answer with the models that gave it: about 12,000 for BFCL's whole archive of 2024."""
    answers: dict[str, dict[str, tuple[Candidate, list[str]]]] = {}
    for question, model, candidate in read_answers(path, drops):
        _, models = answers.setdefault(question, {}).setdefault(answer_key(candidate), (candidate, []))
        if model not in models:
            models.append(model)
    return answers


def _from_results(path: Path, tasks: Mapping[str, Task], drops: Drops) -> Iterator[Graded]:
    answers = _distinct(path, drops)
    for question, some in answers.items():
        for _, models in some.values() if question not in tasks else ():
            for model in models:
                drops.add(UNKNOWN_TASK, f"{question} of {model}")
    for task in tasks.values():
        if task.id in answers:
            found = [_graded(task, candidate, models) for candidate, models in answers[task.id].values()]
            yield Graded(task, tuple(sorted(found, key=lambda one: not one.verdict.right)))


def _graded(task: Task, candidate: Candidate, models: Sequence[str]) -> Answer:
    if candidate.fault is not None:
        verdict = Verdict(False, 0.0, ErrorType.FORMAT, _line(candidate.fault))
        return Answer(candidate, verdict, FORMAT_LABEL, tuple(models))
    found = check(task.category, task.id, candidate.calls)
    verdict = Verdict(found.right, float(found.right), found.error_type, _line(found.message))
    return Answer(candidate, verdict, found.bfcl_error_type or "", tuple(models))


def own_answer(task: Task) -> Answer | None:
    """BFCL's own answer, for a question to which no model's is right; None where its checker refuses that.

    None for Java and JavaScript too: there models' values are source text and BFCL's are typed, which tells them apart.
    """
    if task.reference is None or task.category in LANGUAGES or task.category not in bfcl.ANSWERED:
        return None
    if not check(task.category, task.id, task.reference.calls).right:
        return None
    return Answer(Candidate(task.reference.calls, "", REFERENCE), Verdict(True, 1.0), "", (REFERENCE,))


def answer_key(candidate: Candidate) -> str:
    """Equal for answers that are the same: calls in their order and as written, or the text that is none.

    Exact, since BFCL is: it accepts 70 for an integer and refuses 70.0.
    """
    if candidate.fault is None and candidate.calls:
        return json.dumps([[call.name, call.arguments] for call in candidate.calls], sort_keys=True)
    return candidate.raw or candidate.text


def _line(message: Any) -> str:
    text = "; ".join(map(str, message)) if isinstance(message, list) else str(message or "")
    return " ".join(text.split())[:200]
