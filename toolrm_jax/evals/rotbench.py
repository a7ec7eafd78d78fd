"""RoTBench as a benchmark: of several answers at each level of noise, does the judge prefer a right one.

Two numbers per level and turn: *tool selection*, the preferred answer calls an accepted tool, and *whole call*, its
arguments are right too. The answers are the accepted ones against one call of each of a few other tools on offer
(the wrong tool with what it needs filled in) and mistakes made by rules in the right tool's arguments. Answers that
models sampled are judged the same way by giving a folder of groups (`toolrm synth` on source rotbench).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.evals.benchmark import Benchmark, Drawing, Measure, Metric, bootstrap
from toolrm_jax.evals.scores import Scores, preferred
from toolrm_jax.files import CARD
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.seeding import seeded
from toolrm_jax.sources import rotbench
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.mistakes import make_mistakes
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Group, Task, Tool, Verdict

OTHER_TOOLS = 4
MISTAKES = 3
SELECTION, WHOLE = "tool selection", "whole call"
_ARGUMENTS = (ErrorType.VALUE, ErrorType.MISSING_REQUIRED, ErrorType.UNEXPECTED, ErrorType.TYPE)
_NO_TOOL = (ErrorType.NAME, ErrorType.NUMBER, ErrorType.FORMAT)
"""Errors of an answer that did not call the right tool, or not it alone."""


def read(path: Path | str, seed: int = 0) -> Benchmark:
    """All ten files, or groups of sampled answers to them. Raises DataError where an item cannot be read."""
    path = Path(path)
    if (path / CARD).is_file():
        groups = tuple(group for group in read_groups(path) if group.task.source == "rotbench")
        if not groups:
            raise DataError(f"{path}: holds no groups of source rotbench; sample answers to it first")
        note = "Answers that models sampled."
    else:
        items = rotbench.read_accepted(path, Drops(strict=True))
        groups = tuple(_group(task, accepted, seed) for task, accepted in items)
        note = "Wrong answers are calls of the other tools on offer and mistakes made by rules in the arguments."
    facts = tuple(
        (name, str(sum(group.task.category == name for group in groups)))
        for name in dict.fromkeys(group.task.category for group in groups)
    )
    about = f"RoTBench: one set of questions under five levels of noise in tool and parameter names. {note}"
    return Benchmark("RoTBench", groups, about, METRIC, real=(path / CARD).is_file(), facts=facts)


def measures(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """Both numbers over all questions and for every turn and level; answers of the same best score are as likely."""
    found: dict[tuple[str, str], list[float]] = {}
    for group, row in zip(groups, scores, strict=True):
        best = preferred(row)
        right = [group.verdicts[k].right for k in best]
        selected = [v.right or v.error_type not in _NO_TOOL for v in (group.verdicts[k] for k in best)]
        for category in ("", group.task.category):
            found.setdefault((SELECTION, category), []).append(sum(selected) / max(1, len(best)))
            found.setdefault((WHOLE, category), []).append(sum(right) / max(1, len(best)))
    return tuple(
        bootstrap(
            np.array(values), category.replace("/", " turn, ") or what, f"rotbench {what}", what if category else ""
        )
        for (what, category), values in sorted(found.items(), key=lambda item: _order(*item[0]))
    )


def levels(measured: Sequence[Measure]) -> Drawing:
    """The plot: the number falls, or does not, as the noise grows."""
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in measured:
        turn, _, level = one.name.partition(" turn, ")
        if level in rotbench.LEVELS:
            name = f"{turn} turn, {one.part}"
            lines.setdefault(name, []).append((rotbench.LEVELS.index(level), one.value, one.low, one.high))
    title = "noise: " + ", ".join(f"{k} {name}" for k, name in enumerate(rotbench.LEVELS))
    return Drawing("accuracy by level of noise", title, "accuracy", tuple((n, tuple(p)) for n, p in lines.items()))


METRIC = Metric("share of questions whose preferred answer is right", measures, draw=levels)


def _order(what: str, category: str) -> tuple[bool, int, str, int]:
    turn, _, level = category.partition("/")
    place = rotbench.LEVELS.index(level) if level in rotbench.LEVELS else len(rotbench.LEVELS)
    return category != "", (SELECTION, WHOLE).index(what), turn, place


def _group(task: Task, accepted: Sequence[Call], seed: int) -> Group:
    right = _unlike([Candidate((call,), "", "reference") for call in accepted])
    names = {call.name for call in accepted}
    others = [tool for tool in task.context.tools if tool.name not in names]
    drawn = seeded(seed, "other tools", task.id).sample(others, min(OTHER_TOOLS, len(others)))
    wrong = [(Candidate((_call_of(tool, task),), "", "rule:other tool"), ErrorType.NAME) for tool in drawn]
    wrong += [(candidate, None) for candidate in make_mistakes(task, seed, MISTAKES, _ARGUMENTS) if candidate.calls]
    keys = {candidate_key(candidate) for candidate in right}
    kept = [(candidate, kind) for candidate, kind in wrong if candidate_key(candidate) not in keys]
    verdicts = [Verdict(True, 1.0)] * len(right) + [
        Verdict(False, 0.0, kind or ErrorType.VALUE, candidate.maker) for candidate, kind in kept
    ]
    return Group(task, (*right, *(candidate for candidate, _ in kept)), tuple(verdicts))


def _unlike(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({candidate_key(candidate): candidate for candidate in candidates}.values())


def _call_of(tool: Tool, task: Task) -> Call:
    """A call of that tool with what it requires, filled from the right call where names agree, else in its order."""
    given = task.reference.calls[0].arguments
    values = list(given.values()) or [rotbench.question_of(task)]
    arguments = {name: given.get(name, values[place % len(values)]) for place, name in enumerate(tool.required)}
    return Call(tool.name, arguments)
