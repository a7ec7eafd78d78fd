"""What a page of evaluations shows, worked out of their records: tables, notes, plots. HTML and Markdown share it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from toolrm_jax.evals import report_plots
from toolrm_jax.evals.benchmark import Measure
from toolrm_jax.evals.report import Mistake
from toolrm_jax.evals.results import Judged, Result, Suite

SHOWN_MISTAKES = 5
OURS, BASELINE, PUBLISHED = "ours", "baseline", "published"

Run = tuple[str, Suite]
"""A run and what it is called on the page, which is no other run's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One judge's line of a table; `kind` is ours (the judge that matters), a baseline, or published."""

    run: str
    judge: str
    kind: str
    cells: dict[str, Measure]
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A view of a benchmark: a column for each measure, a line for each judge of each run.

    `sizes`: a column's n where it is that of all its cells; None where they differ, and each shows its own.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def sizes(self) -> dict[str, int | None]:
        """The n of every column. Published numbers have none of their own."""
        found = {}
        for name in self.columns:
            ns = {line.cells[name].n for line in self.lines if name in line.cells and line.kind != PUBLISHED}
            found[name] = ns.pop() if len(ns) == 1 else None
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A benchmark on the page. `mistakes` are those of the run `mistakes_of`."""

    name: str
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    pictures: tuple[str, ...]
    diagnosis: tuple[tuple[str, Measure], ...]
    mistakes: tuple[Mistake, ...]
    mistakes_of: str
    seconds: tuple[tuple[str, dict[str, float]], ...]


def labels(suites: Sequence[Suite]) -> list[str]:
    """What each run is called: its model; where runs share one, its output folder too, and then a number."""
    models = Counter(suite.model for suite in suites)
    found = [
        suite.model if models[suite.model] == 1 else f"{suite.model} ({suite.config.get('output', 'a run')})"
        for suite in suites
    ]
    return [name if found.count(name) == 1 else f"{name}, {found[: k + 1].count(name)}" for k, name in enumerate(found)]


def overview(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """One line a judge and run, one column a benchmark: the first of its headlines."""
    lines: dict[tuple[str, str], Line] = {}
    columns: dict[str, None] = {}
    for name in names:
        judged = [(run, one) for run, suite in runs if (one := suite.benchmark(name))]
        metrics = {result.metric for _, one in judged for result in one.results}
        for run, one in judged:
            for result in one.results:
                for headline in result.headlines[:1]:
                    column = f"{name}: {f'{result.metric}, ' if len(metrics) > 1 else ''}{headline.name}"
                    columns[column] = None
                    line = lines.setdefault((run, result.judge), Line(run, result.judge, _kind(one, result), {}))
                    line.cells[column] = headline
    return Table("", tuple(columns), tuple(lines.values()))


def section(name: str, runs: Sequence[Run], place: int) -> Section:
    """One benchmark of all the runs that have it. `place`: its number on the page."""
    judged = [(run, one) for run, suite in runs if (one := suite.benchmark(name))]
    pictures = [
        report_plots.lines(drawing, run if len(judged) > 1 else "", f"drawing-{place}-{number}-{k}")
        for number, (run, one) in enumerate(judged)
        for k, drawing in enumerate(one.drawings)
    ]
    hardest = next(((run, one.mistakes) for run, one in judged if one.mistakes), ("", ()))
    return Section(
        name,
        tuple(dict.fromkeys(one.note for _, one in judged)),
        tuple(dict.fromkeys(fact for _, one in judged for fact in one.facts)),
        tuple(_tables(judged)),
        tuple(pictures),
        tuple((run, measure) for run, one in judged for measure in one.diagnosis),
        hardest[1][:SHOWN_MISTAKES],
        hardest[0],
        tuple((run, one.seconds) for run, one in judged if one.seconds),
    )


def _tables(judged: Sequence[tuple[str, Judged]]) -> Iterable[Table]:
    """One table per metric and part."""
    results = [(run, one, result) for run, one in judged for result in one.results]
    for metric in dict.fromkeys(result.metric for _, _, result in results):
        some = [(run, one, result) for run, one, result in results if result.metric == metric]
        for part in dict.fromkeys(measure.part for _, _, result in some for measure in result.measures):
            names = tuple(dict.fromkeys(m.name for _, _, result in some for m in result.measures if m.part == part))
            lines = [
                Line(
                    run,
                    result.judge,
                    _kind(one, result),
                    {measure.name: measure for measure in result.measures if measure.part == part},
                    result.note,
                )
                for run, one, result in some
            ]
            lines += _published(judged[0][1], metric, names) if not part else []
            title = f"{metric[0].upper()}{metric[1:]}{f', {part}' if part else ''}"
            yield Table(title, names, tuple(lines))


def _kind(judged: Judged, result: Result) -> str:
    return OURS if result.judge == judged.results[0].judge else BASELINE


def _published(judged: Judged, metric: str, names: Sequence[str]) -> list[Line]:
    rows = [row for row in judged.published if row.metric == metric]
    rows.sort(key=lambda row: -row.values.get(names[0], 0.0))
    return [
        Line(
            row.source,
            row.model,
            PUBLISHED,
            {name: Measure(name, row.values[name], None, None, 0) for name in names if name in row.values},
            row.note,
        )
        for row in rows
    ]
