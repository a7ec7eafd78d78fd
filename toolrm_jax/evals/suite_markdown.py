"""The page of evaluations as Markdown: the same tables, notes and diagnosis, without plots and hardest pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolrm_jax.evals.suite_view import PUBLISHED, Line, Run, Section, Table


def markdown(sections: Sequence[Section], runs: Sequence[Run]) -> str:
    """Every benchmark's tables, the runs side by side, published rows beside them, and what the scores depend on."""
    several = len(runs) > 1
    lines: list[str] = []
    for section in sections:
        lines += [f"## {section.name}", "", *(line for note in section.notes for line in (note, ""))]
        if section.facts:
            lines += ["; ".join(f"{name}: {value}" for name, value in section.facts) + ".", ""]
        for table in section.tables:
            lines += [f"### {table.title}", "", *_table(table, several), ""]
        if section.diagnosis:
            rows = [
                [measure.name, measure.part, *([run] if several else []), measure.shown, measure.unit, f"{measure.n:,}"]
                for run, measure in section.diagnosis
            ]
            head = ["measure", "of", *(["run"] if several else []), "value", "unit", "n"]
            lines += ["### What the scores depend on", "", *_rows(head, rows), ""]
        for run, seconds in section.seconds:
            spent = ", ".join(f"{part} {value:.1f}" for part, value in seconds.items())
            lines += [f"{f'{run}: ' if several else ''}seconds of scoring: {spent}.", ""]
    lines += [f"Made by `{suite.command}`." for _, suite in runs]
    return "\n".join(lines) + "\n"


def _table(table: Table, several: bool) -> Iterator[str]:
    sizes = table.sizes
    head = [f"{name} (n = {size:,})" if (size := sizes[name]) is not None else name for name in table.columns]
    rows = [[_who(line, several), *(_cell(line, name, sizes[name]) for name in table.columns)] for line in table.lines]
    yield from _rows(["judge", *head], rows)
    notes = [line for line in table.lines if line.note]
    if notes:
        yield ""
        yield from (f"* {_who(line, several)}: {line.note}" for line in notes)


def _who(line: Line, several: bool) -> str:
    return f"{line.judge} ({line.run})" if several or line.kind == PUBLISHED else line.judge


def _cell(line: Line, name: str, size: int | None) -> str:
    found = line.cells.get(name)
    if found is None:
        return "—"
    return f"{found.shown}, n = {found.n:,}" if size is None and found.n else found.shown


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
