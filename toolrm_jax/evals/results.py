"""What an evaluation leaves behind: one record a benchmark, and the record of the run they belong to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.evals.benchmark import Drawing, Measure, Published
from toolrm_jax.evals.report import Mistake
from toolrm_jax.files import write_file
from toolrm_jax.toolcalls.types import Record

RESULTS = "results.json"
NO_MODEL = "no model"


def _many(kind: type[Record], value: Any) -> tuple:
    if not isinstance(value, list):
        raise DataError(f"expected a list of {kind.__name__}, found {type(value).__name__}")
    return tuple(kind.from_json(item) for item in value)


@dataclasses.dataclass(frozen=True, slots=True)
class Result(Record):
    """One judge under one metric. `note` says what is special: answers that could not be read, and the like.

    `headline` names the measures that stand for the whole, each by part and name (`Metric.headline`).
    """

    judge: str
    metric: str
    measures: tuple[Measure, ...]
    about: str = ""
    note: str = ""
    headline: tuple[tuple[str, str], ...] = ()

    @property
    def headlines(self) -> tuple[Measure, ...]:
        """Those measures, less any that nothing was measured for."""
        return tuple(one for one in self.measures if (one.part, one.name) in self.headline and one.n)

    def named(self, name: str, part: str = "") -> Measure | None:
        """The measure of that name and part."""
        return next((one for one in self.measures if one.name == name and one.part == part), None)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "headline":
            return tuple((part, measure) for part, measure in value)
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
    """All benchmarks of one run, each of another name: who was judged, by which command, with which settings.

    `model` is `NO_MODEL` where only judges that need none were at work.
    """

    model: str
    command: str
    judged: tuple[Judged, ...]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [one.benchmark for one in self.judged]
        if twice := {name for name in names if names.count(name) > 1}:
            raise DataError(f"two benchmarks of one run are called {min(twice)!r}; judge them into two folders")

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
    """Hugging Face's `model-index` metadata: the headlines of the judge that was evaluated, shares in percent.

    Empty where no model was judged, or nothing of it was measured.
    """
    if suite.model == NO_MODEL:
        return []
    found = []
    task = {"type": "text-classification", "name": "reward modelling of tool calls"}
    for judged, result in evaluated(suite):
        metrics = [
            {
                "type": "accuracy" if one.unit == "%" else one.unit.lower(),
                "name": f"{result.metric}, {one.part + ': ' if one.part else ''}{one.name} ({_range(one)}n = {one.n})",
                "value": round(one.value * (100 if one.unit == "%" else 1), 2),
            }
            for one in result.headlines
        ]
        if metrics:
            kind = re.sub(r"[^a-z0-9]+", "-", judged.benchmark.lower()).strip("-")
            found.append({"task": task, "dataset": {"type": kind, "name": judged.benchmark}, "metrics": metrics})
    return [{"name": name, "results": found}] if found else []


def evaluated(suite: Suite) -> Iterator[tuple[Judged, Result]]:
    """The results of the judge that was evaluated, which is the first of each benchmark."""
    for judged in suite.judged:
        for result in judged.results:
            if result.judge == judged.results[0].judge:
                yield judged, result


def _range(one: Measure) -> str:
    if one.low is None or one.high is None:
        return ""
    scale = 100 if one.unit == "%" else 1
    return f"95 % interval {scale * one.low:.2f} to {scale * one.high:.2f}, "
