"""What a sweep has found so far: each run, and its points over their seeds, with means and intervals."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.commands.sweep_plan import FAILED, RUNS, read_record
from toolrm_jax.commands.sweep_points import SEED, short_names
from toolrm_jax.files import is_complete
from toolrm_jax.train.metrics import read_metrics

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One run. `value`: the metric where it was last judged, at `step`; `state`: done, failed, begun or waiting."""

    name: str
    point: dict[str, str]
    words: tuple[str, ...]
    state: str
    step: int
    value: float | None
    best: float | None
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The runs that differ in their seed alone. `half`: half the width of the mean's interval; None of one run."""

    point: dict[str, str]
    results: tuple[Result, ...]
    mean: float | None
    half: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A sweep's runs in its own order, and their groups, the best first; those without a value last."""

    folder: Path
    metric: str
    lower: bool
    results: tuple[Result, ...]
    groups: tuple[Group, ...]

    @property
    def factors(self) -> tuple[str, ...]:
        """The settings that differ, but the seed."""
        names = dict.fromkeys(name for result in self.results for name in result.point if name != SEED)
        return tuple(name for name in names if len({result.point.get(name) for result in self.results}) > 1)


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    from toolrm_jax.train.best import LOWER_IS_BETTER

    return metric in LOWER_IS_BETTER


def read_found(folder: Path, metric: str | None = None) -> Found:
    """A sweep's results from its folder. Raises ConfigError where there is no sweep."""
    record = read_record(folder)
    metric = metric or record["metric"]
    lower = lower_is_better(metric)
    results = tuple(_result(folder, run, metric, lower) for run in record["runs"])
    by_point: dict[str, list[Result]] = {}
    for result in results:
        by_point.setdefault(json.dumps(_without_seed(result.point)), []).append(result)
    groups = [_group(members) for members in by_point.values()]
    groups.sort(key=lambda group: math.inf if group.mean is None else group.mean if lower else -group.mean)
    return Found(folder, metric, lower, results, tuple(groups))


def judged(folder: Path, metric: str) -> dict[int, float]:
    """The metric of a run's held-out groups by step."""
    return {
        record["step"]: record[metric]
        for record in read_metrics(folder)
        if record["kind"] == "held_out" and metric in record
    }


def _without_seed(point: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in point.items() if name != SEED}


def _result(folder: Path, run: dict[str, Any], metric: str, lower: bool) -> Result:
    output, failed = folder / RUNS / run["name"], folder / FAILED / run["name"]
    values = judged(output, metric)
    lines: tuple[str, ...] = ()
    if is_complete(output):
        state = "done"
    elif failed.is_file():
        state, lines = "failed", tuple(json.loads(failed.read_bytes())["lines"])
    else:
        state = "begun" if values else "waiting"
    step = max(values, default=0)
    best = (min if lower else max)(values.values(), default=None)
    return Result(run["name"], run["point"], tuple(run["words"]), state, step, values.get(step), best, lines)


def _group(members: Sequence[Result]) -> Group:
    values = [result.value for result in members if result.state == "done" and result.value is not None]
    mean = statistics.fmean(values) if values else None
    return Group(_without_seed(members[0].point), tuple(members), mean, half_width(values))


def half_width(values: Sequence[float]) -> float | None:
    """Half of Student's interval of the mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def table(found: Found) -> list[str]:
    """The runs, then the points over their seeds, as lines of text. No clock is in it: it says what was found alone."""
    head = ("run", "state", "step", found.metric, "best")
    rows = [(r.name, r.state, str(r.step), number(r.value), number(r.best)) for r in found.results]
    lines = _aligned([head, *rows])
    if any(len(group.results) > 1 for group in found.groups):
        short = short_names(found.factors)
        head = (*(short[name] for name in found.factors), "seeds", f"mean {found.metric}", "95 % interval")
        rows = []
        for group in found.groups:
            count = sum(result.state == "done" for result in group.results)
            values = [group.point.get(name, "-") for name in found.factors]
            rows.append((*values, f"{count} of {len(group.results)}", number(group.mean), interval(group)))
        lines += ["", *_aligned([head, *rows])]
    for result in found.results:
        lines += [f"\n{result.name} failed:", *(f"    {line}" for line in result.lines)] if result.lines else []
    return lines


def number(value: float | None) -> str:
    """A metric's value to four digits."""
    return "-" if value is None else f"{value:.4f}"


def interval(group: Group) -> str:
    """The interval of a group's mean."""
    if group.mean is None or group.half is None:
        return "-"
    return f"{group.mean - group.half:.4f} to {group.mean + group.half:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def best_group(found: Found) -> Group | None:
    """The point with the best mean; None where no run is done."""
    return next((group for group in found.groups if group.mean is not None), None)


def rerun(result: Result, output: str) -> str:
    """The command that makes a run again."""
    import shlex

    return shlex.join(["toolrm", "train", *result.words, f"output={output}"])
