"""What a sweep will run: every point resolved to a whole training config before anything is started."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.commands import settings
from toolrm_jax.commands.sweep_points import Named, Point, Sweep, Values, make_points, named, read_values
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import CARD, first_difference, is_complete, write_file
from toolrm_jax.train.config import MAY_CHANGE, TrainConfig

RECORD = "sweep.json"
RUNS, LOGS, LOCKS, FAILED = "runs", "logs", "locks", "failed"
"""Folders below a sweep's: what `toolrm train` writes, what it prints, who is at it, and why it ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One point: its run's name, what sets it apart, the words of `toolrm train`, and the config these give."""

    name: str
    point: Point
    words: tuple[str, ...]
    config: TrainConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All runs of a sweep below `folder`."""

    folder: Path
    runs: tuple[Run, ...]
    before: tuple[tuple[str, ...], ...] = ()

    def path(self, kind: str, name: str) -> Path:
        """A run's file or folder of that kind."""
        return self.folder / kind / name

    def done(self, run: Run) -> bool:
        """Whether the run has come to its end."""
        return is_complete(self.path(RUNS, run.name))


def make_plan(
    folder: Path, words: Sequence[str], sweep: Sweep | None, files: Sequence[str], draws: int | None, seed: int
) -> Plan:
    """The runs. `words` are the command line's, which win over those of `sweep`; `files` hold one point each.

    Raises ConfigError for a setting that does not exist, a value of a wrong type, two points of one name.
    """
    base, given = _fixed(words, sweep)
    types = {setting.name: setting.type for setting in settings.settings_of(TrainConfig)}
    factors: dict[str, Values] = {}
    fixed: Point = {}
    for name, text in given.items():
        values = read_values(name, text, types.get(name, "").startswith("int"))
        if values is None:
            fixed[name] = text
        else:
            factors[name] = values
    listed: list[Point] = [dict(settings.read_bindings(Path(file))) for file in files]
    listed += [
        {name: settings.shown(value) for name, value in point.items()} for point in (sweep.points if sweep else ())
    ]
    if listed and factors:
        raise ConfigError(
            f"{next(iter(factors))}: has several values, but the points are listed; give one or the other"
        )
    draws = draws if draws is not None or sweep is None else sweep.draws
    points = listed or make_points(factors, draws, seed)
    runs = tuple(_run(folder, base, fixed, each) for each in named(points))
    _no_twins(runs)
    before = tuple(tuple(map(str, command)) for command in sweep.before) if sweep else ()
    return Plan(folder, runs, before)


def _fixed(words: Sequence[str], sweep: Sweep | None) -> tuple[list[str], dict[str, str]]:
    """The word `config=`, if any, and the settings by name, later ones in place of earlier ones."""
    given = {name: _text(value) for name, value in sweep.settings.items()} if sweep else {}
    base = [f"config={given.pop('config')}"] if "config" in given else []
    typed = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or name.startswith("-"):
            raise ConfigError(f"{word!r}: settings are written key=value")
        if name == "config":
            base = [word]
        elif name == "bindings":
            given |= dict(settings.read_bindings(Path(value)))
        else:
            typed.append((name, value))
    return base, given | dict(typed)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _run(folder: Path, base: list[str], fixed: Point, each: Named) -> Run:
    words = (*base, *(f"{name}={value}" for name, value in (fixed | each.point).items()))
    output = folder / RUNS / each.name
    config = settings.resolve("train", TrainConfig, [*words, f"output={output}"], None).config
    return Run(each.name, each.point, words, config)


def _no_twins(runs: Sequence[Run]) -> None:
    """Points whose values are written differently but mean the same are one point."""
    seen: dict[str, str] = {}
    for run in runs:
        key = json.dumps(settings.as_json(run.config, "output"), sort_keys=True)
        if key in seen:
            raise ConfigError(f"two points are the same run: {seen[key]} and {run.name}; leave one out")
        seen[key] = run.name


def check_data(plan: Plan) -> None:
    """Raise DataError where a run's data are not there, unless a command before the runs makes them."""
    made = [word.partition("=")[2] for words in plan.before for word in words if word.startswith("output=")]
    for run in plan.runs:
        for side in ("train", "held_out"):
            folder = Path(getattr(run.config.data, side))
            if not is_complete(folder) and not any(folder.is_relative_to(output) for output in made):
                raise DataError(f"data.{side}={folder}: has no {CARD}; give a folder that `toolrm prepare` wrote")


def changed_runs(plan: Plan) -> dict[str, tuple[str, str, str]]:
    """The runs that are there with other settings, each with the first that differs (name, there, now)."""
    found = {}
    for run in plan.runs:
        output = plan.path(RUNS, run.name)
        if (output / settings.CONFIG_FILE).is_file():
            difference = settings.saved_difference(run.config, output, *MAY_CHANGE)
            if difference is not None:
                found[run.name] = difference
    return found


def save_plan(plan: Plan, metric: str, overwrite: bool) -> None:
    """Write the sweep's record, in which runs may be added to those there. Raises ConfigError for any other change."""
    runs = [{"name": run.name, "point": run.point, "words": list(run.words)} for run in plan.runs]
    record = {"metric": metric, "runs": runs}
    file = plan.folder / RECORD
    if not overwrite:
        if file.is_file():
            there = {run["name"]: run for run in read_record(plan.folder)["runs"]}
            now = {run["name"]: run for run in runs}
            gone = [name for name in there if name not in now]
            if gone:
                raise ConfigError(
                    f"{plan.folder}: holds a sweep with the point {gone[0]}, which this one lacks; "
                    "name another output, or say overwrite=true"
                )
        for name, (where, old, new) in changed_runs(plan).items():
            raise ConfigError(
                f"{plan.path(RUNS, name)}: was begun with {where}={old}, now {new}; "
                "say overwrite=true or name another output"
            )
    if not file.is_file() or first_difference(read_record(plan.folder), record):
        write_file(file, json.dumps(record, indent=1) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a sweep's folder. Raises ConfigError where there is none."""
    file = folder / RECORD
    try:
        record = json.loads(file.read_bytes())
        return {"metric": str(record["metric"]), "runs": list(record["runs"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: no record of a sweep ({error}); give the output of `toolrm sweep`") from None
