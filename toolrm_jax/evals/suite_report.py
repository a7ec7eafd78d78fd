"""The page of one or several evaluations side by side: every number with its interval and n, plots, hardest pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.evals import report_plots
from toolrm_jax.evals.benchmark import Measure
from toolrm_jax.evals.best_of_n import JUDGE
from toolrm_jax.evals.report import rendered
from toolrm_jax.evals.results import Judged, Result, Suite, markdown, model_index
from toolrm_jax.files import write_file

SHOWN_MISTAKES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One judge's line of a table; `kind` is ours (the judge that matters), a baseline, or published."""

    run: str
    judge: str
    kind: str
    cells: dict[str, Measure | None]
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A view of a benchmark: a column for each measure, a line for each judge of each run."""

    title: str
    columns: tuple[str, ...]
    sizes: dict[str, int]
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A benchmark on the page."""

    name: str
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    pictures: tuple[str, ...]
    diagnosis: tuple[tuple[str, tuple[tuple[str, Measure], ...]], ...]
    mistakes: tuple
    seconds: tuple[tuple[str, dict[str, float]], ...]


def write_suite_report(path: Path | str, suites: Sequence[Suite]) -> Path:
    """Write `path` (HTML) and beside it the same numbers: `.md`, and `model_index.json` of the first run."""
    path = Path(path)
    names = list(dict.fromkeys(one.benchmark for suite in suites for one in suite.judged))
    sections = [_section(name, suites, place) for place, name in enumerate(names)]
    html = rendered(
        "suite.html.jinja",
        title=" and ".join(suite.model for suite in suites),
        suites=suites,
        several=len(suites) > 1,
        overview=_overview(sections),
        sections=sections,
        configs=[json.dumps(suite.config, indent=2, ensure_ascii=False) for suite in suites],
    )
    write_file(path.with_suffix(".md"), markdown(suites))
    index = json.dumps(model_index(suites[0], Path(suites[0].model).name), indent=1, ensure_ascii=False)
    write_file(path.with_name("model_index.json"), index + "\n")
    write_file(path, html)
    return path


def _overview(sections: Sequence[Section]) -> Table:
    """One line a judge and run, one column a benchmark: the number that stands for it."""
    rows: dict[tuple[str, str], Line] = {}
    columns, sizes = [], {}
    for section in sections:
        table = section.tables[0]
        headline = next((name for name in table.columns if name.startswith(f"{JUDGE},")), table.columns[0])
        column = f"{section.name}: {headline}"
        columns.append(column)
        sizes[column] = table.sizes[headline]
        for line in table.lines:
            if line.kind != "published":
                known = rows.setdefault((line.run, line.judge), Line(line.run, line.judge, line.kind, {}))
                known.cells[column] = line.cells.get(headline)
    return Table("", tuple(columns), sizes, tuple(rows.values()))


def _section(name: str, suites: Sequence[Suite], place: int) -> Section:
    judged = [(suite, one) for suite in suites if (one := suite.benchmark(name))]
    pictures, diagnosis = [], []
    for number, (suite, one) in enumerate(judged):
        label = suite.model if len(judged) > 1 else ""
        for k, drawing in enumerate(one.drawings):
            pictures.append(report_plots.lines(drawing, label, f"drawing-{place}-{number}-{k}"))
        for part in dict.fromkeys(measure.part for measure in one.diagnosis):
            rows = tuple((suite.model, measure) for measure in one.diagnosis if measure.part == part)
            diagnosis.append((part, rows))
    return Section(
        name,
        tuple(dict.fromkeys(one.note for _, one in judged)),
        judged[0][1].facts,
        tuple(_tables(judged)),
        tuple(pictures),
        tuple(diagnosis),
        judged[0][1].mistakes[:SHOWN_MISTAKES],
        tuple((suite.model, one.seconds) for suite, one in judged if one.seconds),
    )


def _tables(judged: Sequence[tuple[Suite, Judged]]) -> list[Table]:
    """One table per metric and part."""
    tables = []
    results = [(suite, one, result) for suite, one in judged for result in one.results]
    for metric in dict.fromkeys(result.metric for _, _, result in results):
        some = [(suite, one, result) for suite, one, result in results if result.metric == metric]
        parts = dict.fromkeys(measure.part for _, _, result in some for measure in result.measures)
        for part in parts:
            names = dict.fromkeys(m.name for _, _, result in some for m in result.measures if m.part == part)
            lines = [_line(suite, one, result, part, tuple(names)) for suite, one, result in some]
            lines += _published(judged[0][1], metric, tuple(names)) if not part else []
            sizes = {
                name: max((line.cells[name].n for line in lines if line.cells.get(name)), default=0) for name in names
            }
            title = f"{metric[0].upper()}{metric[1:]}{f', {part}' if part else ''}"
            tables.append(Table(title, tuple(names), sizes, tuple(lines)))
    return tables


def _line(suite: Suite, judged: Judged, result: Result, part: str, names: Sequence[str]) -> Line:
    kind = "ours" if result.judge == judged.results[0].judge else "baseline"
    return Line(suite.model, result.judge, kind, {name: result.named(name, part) for name in names}, result.note)


def _published(judged: Judged, metric: str, names: Sequence[str]) -> list[Line]:
    rows = [row for row in judged.published if row.metric == metric]
    rows.sort(key=lambda row: -row.values.get(names[0], 0.0))
    return [
        Line(
            row.source,
            row.model,
            "published",
            {
                name: Measure(name, row.values[name], row.values[name], row.values[name], 0)
                for name in names
                if name in row.values
            },
            row.note,
        )
        for row in rows
    ]
