"""What the report's page shows, worked out of a RunReport: tables, comparisons, sentences, plots."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from toolrm_jax.errors import ConfigError
from toolrm_jax.evals import report_plots
from toolrm_jax.evals.metrics import (
    Accuracy,
    Comparison,
    accuracy,
    category,
    compare,
    error_type,
    table,
    without_numbers,
)
from toolrm_jax.toolcalls.types import ErrorType

if TYPE_CHECKING:
    from toolrm_jax.evals.report import Evaluation, JudgeResult, RunReport

ALL = "all pairs"
NO_NUMBERS = "without wrong-number pairs"


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """`page` holds the template's variables, `results` the same numbers as JSON values."""

    page: dict[str, Any]
    results: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One judge's line of a table: accuracies by column, None where it has no pairs."""

    judge: str
    trained: bool
    cells: dict[str, Accuracy | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """The trained model beside one other judge."""

    judge: str
    word: str
    all: Comparison
    no_numbers: Comparison | None


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One evaluation as shown."""

    name: str
    real: bool
    note: str
    pairs: int
    tasks: int
    per_task: Accuracy
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    categories: tuple[Row, ...]
    category_columns: tuple[str, ...]
    standings: tuple[Standing, ...]
    panels: tuple[str, ...]
    histogram: str


def view(run: RunReport) -> View:
    """Everything the template needs. Raises ConfigError where there is nothing to show."""
    if not run.evaluations:
        raise ConfigError("a report needs at least one evaluation; evaluate the model first")
    sections = tuple(_section(evaluation, run.trained, place) for place, evaluation in enumerate(run.evaluations))
    page = {
        "sections": sections,
        "headline": _headline(run, sections[0]),
        "lead": sections[0].rows[0].cells[ALL],
        "verdicts": tuple(_sentence(run.trained, standing) for standing in sections[0].standings),
        "judges": {result.judge: result.about for e in run.evaluations for result in e.results if result.about},
        "any_real": any(section.real for section in sections),
        "any_made": any(not section.real for section in sections),
        "curves": tuple(
            report_plots.curve(curve.name, curve.steps, curve.values, percent, f"curve-{place}")
            for place, (curve, percent) in enumerate(((run.loss, False), (run.held_out, True)))
            if curve is not None and curve.steps
        ),
        "config": json.dumps(run.config, indent=2, ensure_ascii=False),
        "all_judges": tuple(dict.fromkeys(row.judge for section in sections for row in section.rows)),
        "all": ALL,
        "no_numbers": NO_NUMBERS,
    }
    return View(page, {section.name: _numbers(section) for section in sections})


def _section(evaluation: Evaluation, trained: str, place: int) -> Section:
    first = evaluation.result(trained)
    others = [result for result in evaluation.results if result.judge != trained]
    ordered = [first, *others]
    if (per_task := accuracy(first.outcomes, by="groups")) is None:
        raise ConfigError(f"{evaluation.name}: no pairs of a right and a wrong answer; give groups that have both")
    rows = tuple(_row(result, trained) for result in ordered)
    columns = (ALL, NO_NUMBERS, *(str(kind) for kind in ErrorType if rows[0].cells.get(str(kind))))
    if rows[0].cells[NO_NUMBERS] is None or str(ErrorType.NUMBER) not in columns:
        columns = tuple(name for name in columns if name != NO_NUMBERS)
    by_category = tuple(
        Row(result.judge, result.judge == trained, dict(table(result.outcomes, category))) for result in ordered
    )
    panels = tuple(
        report_plots.judges_panel(
            name,
            [(row.judge, row.cells[name], row.trained) for row in rows if row.cells.get(name)],
            f"panel-{place}-{number}",
        )
        for number, name in enumerate(columns)
    )
    read = [pair for pair in first.outcomes if pair.right_score is not None and pair.wrong_score is not None]
    histogram = (
        report_plots.histogram(
            [pair.right_score for pair in read], [pair.wrong_score for pair in read], f"histogram-{place}"
        )
        if read
        else ""
    )
    return Section(
        name=evaluation.name,
        real=evaluation.real,
        note=evaluation.note,
        pairs=per_task.pairs,
        tasks=per_task.tasks,
        per_task=per_task,
        columns=columns,
        rows=rows,
        categories=by_category,
        category_columns=tuple(by_category[0].cells),
        standings=tuple(_standing(first, other) for other in others),
        panels=panels,
        histogram=histogram,
    )


def _row(result: JudgeResult, trained: str) -> Row:
    cells: dict[str, Accuracy | None] = {
        ALL: accuracy(result.outcomes),
        NO_NUMBERS: accuracy(without_numbers(result.outcomes)),
        **table(result.outcomes, error_type),
    }
    return Row(result.judge, result.judge == trained, cells)


def _standing(first: JudgeResult, other: JudgeResult) -> Standing:
    everything = compare(first.outcomes, other.outcomes)
    fewer = without_numbers(first.outcomes)
    some = compare(fewer, without_numbers(other.outcomes)) if fewer and len(fewer) < len(first.outcomes) else None
    word = "above" if everything.low > 0 else "below" if everything.high < 0 else "level with"
    return Standing(other.judge, word, everything, some)


def _sentence(trained: str, standing: Standing) -> str:
    found = standing.all
    points = f"{abs(100 * found.difference):.1f} points"
    interval = f"95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}".replace("-", "−")
    if standing.word == "level with":
        return f"No clear difference from {standing.judge} ({100 * found.difference:+.1f} points, {interval}).".replace(
            "(-", "(−"
        )
    return f"{points} {standing.word} {standing.judge} ({interval})."


def _headline(run: RunReport, section: Section) -> str:
    kind = "a wrong call that a real model wrote" if section.real else "a mistake made by rules"
    return (
        f"{run.backbone} was trained on {run.what}. It now scores the right answer above {kind} in "
        f"{_percent(section.rows[0].cells[ALL])} of {section.pairs:,} pairs ({section.name})."
    )


def _percent(found: Accuracy | None) -> str:
    return "—" if found is None else f"{100 * found.value:.1f} %"


def _numbers(section: Section) -> dict[str, Any]:
    def rows(some: Iterable[Row]) -> dict[str, Any]:
        return {row.judge: {name: cell and cell.to_json() for name, cell in row.cells.items()} for row in some}

    return {
        "pairs": section.pairs,
        "tasks": section.tasks,
        "trained, averaged per task": section.per_task.to_json(),
        "by error type": rows(section.rows),
        "by category": rows(section.categories),
        "trained minus": {
            standing.judge: {
                ALL: standing.all.to_json(),
                NO_NUMBERS: standing.no_numbers and standing.no_numbers.to_json(),
            }
            for standing in section.standings
        },
    }
