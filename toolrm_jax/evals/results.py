"""What an evaluation leaves behind: one record a benchmark, and the record of the run they belong to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.evals.benchmark import Drawing, Measure, Published
from toolrm_jax.evals.report import Mistake
from toolrm_jax.files import write_file
from toolrm_jax.toolcalls.types import Record

RESULTS = "results.json"


def _many(kind: type[Record], value: Any) -> tuple:
    if not isinstance(value, list):
        raise DataError(f"expected a list of {kind.__name__}, found {type(value).__name__}")
    return tuple(kind.from_json(item) for item in value)


@dataclasses.dataclass(frozen=True, slots=True)
class Result(Record):
    """One judge under one metric. `note` says what is special: answers that could not be read, and the like."""

    judge: str
    metric: str
    measures: tuple[Measure, ...]
    about: str = ""
    note: str = ""

    def named(self, name: str, part: str = "") -> Measure | None:
        """The measure of that name and part."""
        return next((one for one in self.measures if one.name == name and one.part == part), None)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(Measure, value) if name == "measures" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Judged(Record):
    """One benchmark under every judge, the one that matters first; what it showed of that one; its hardest pairs."""

    benchmark: str
    note: str
    real: bool
    groups: int
    results: tuple[Result, ...]
    facts: tuple[tuple[str, str], ...] = ()
    published: tuple[Published, ...] = ()
    diagnosis: tuple[Measure, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        kinds = {
            "results": Result,
            "published": Published,
            "diagnosis": Measure,
            "drawings": Drawing,
            "mistakes": Mistake,
        }
        if name == "facts":
            return tuple(tuple(row) for row in value)
        return _many(kinds[name], value) if name in kinds else value


@dataclasses.dataclass(frozen=True, slots=True)
class Suite(Record):
    """All benchmarks of one run: who was judged, by which command, with which settings."""

    model: str
    command: str
    judged: tuple[Judged, ...]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(Judged, value) if name == "judged" else value

    def benchmark(self, name: str) -> Judged | None:
        """The benchmark of that name."""
        return next((one for one in self.judged if one.benchmark == name), None)


def save(suite: Suite, folder: Path) -> Path:
    """Write `results.json`, whole or not at all."""
    path = folder / RESULTS
    write_file(path, json.dumps(suite.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def load(path: Path | str) -> Suite:
    """The results of a folder, or of that file. Raises DataError where there are none."""
    path = Path(path)
    file = path / RESULTS if path.is_dir() else path
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read ({error}); give the output folder of `toolrm eval benchmark=`"
        ) from None
    return Suite.from_json(value)


def model_index(suite: Suite, name: str) -> list[dict[str, Any]]:
    """Hugging Face's `model-index` metadata of the first judge: the overall numbers, as shares in percent."""
    found = []
    for judged in suite.judged:
        for result in [one for one in judged.results if one.judge == judged.results[0].judge]:
            overall = [one for one in result.measures if not one.part and one.n][:3]
            metrics = [
                {
                    "type": "accuracy" if one.unit == "%" else one.unit.lower(),
                    "name": f"{result.metric}, {one.name} (95 % interval {_range(one)}, n = {one.n})",
                    "value": round(one.value * (100 if one.unit == "%" else 1), 2),
                }
                for one in overall
            ]
            kind = re.sub(r"[^a-z0-9]+", "-", judged.benchmark.lower()).strip("-")
            task = {"type": "text-classification", "name": "reward modelling of tool calls"}
            found.append({"task": task, "dataset": {"type": kind, "name": judged.benchmark}, "metrics": metrics})
    return [{"name": name, "results": found}]


def markdown(suites: Sequence[Suite]) -> str:
    """The tables of every benchmark, the runs side by side, as Markdown."""
    lines = []
    for name in dict.fromkeys(one.benchmark for suite in suites for one in suite.judged):
        lines += [f"## {name}", ""]
        for suite in suites:
            judged = suite.benchmark(name)
            if judged is None:
                continue
            lines += [f"{suite.model}: {judged.note}", ""]
            for metric in dict.fromkeys(result.metric for result in judged.results):
                lines += _table([result for result in judged.results if result.metric == metric], metric)
        lines.append("")
    lines += [f"Made by `{suite.command}`." for suite in suites]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result], metric: str) -> list[str]:
    names = [(one.part, one.name, one.n) for one in results[0].measures]
    head = " | ".join(f"{part + ': ' if part else ''}{name} (n = {n:,})" for part, name, n in names)
    rows = []
    for result in results:
        found = {(one.part, one.name): one.shown for one in result.measures}
        rows.append(f"| {result.judge} | " + " | ".join(found.get((part, name), "—") for part, name, _ in names) + " |")
    return [f"| {metric} | {head} |", "|" + "---|" * (len(names) + 1), *rows, ""]


def _range(one: Measure) -> str:
    scale = 100 if one.unit == "%" else 1
    return f"{scale * one.low:.2f} to {scale * one.high:.2f}"
