"""Compare training runs: a table of what they reached, how fast, and how their settings differ, and a plot.

toolrm runs path=runs/a,runs/b
toolrm runs path=runs               every run below a folder
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chz

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import CARD

BASE = None
SMOOTHING = 12
"""The plotted loss is a mean over about this share (1/n) of the steps."""
PLOTS = (".png", ".svg", ".pdf")
NOT_COMPARED = ("output", "wandb", "profile.steps")


@chz.chz
class Config:
    """Which runs, and what of them."""

    path: tuple[str, ...]  # folders that `toolrm train` wrote, or folders that hold some
    metric: str = "correct"  # of the held-out groups: the table's and the plot's
    output: str | None = None  # the plot, .png, .svg or .pdf; None: runs.png beside the first run


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A run's records, in the order of steps."""

    folder: Path
    name: str
    finished: bool
    config: dict[str, Any]
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    speed: list[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Steps on record."""
        return self.train[-1]["step"] if self.train else 0


def run(config: Config, overwrite: bool = False) -> int:
    """Print the table and write the plot, in place of an earlier one."""
    if config.output and Path(config.output).suffix not in PLOTS:
        raise ConfigError(f"output={config.output}: is no kind of plot; name a {' or '.join(PLOTS)} file")
    runs = [read_run(folder, name) for folder, name in find_runs([Path(path) for path in config.path])]
    print("\n".join(table(runs, config.metric)))
    output = Path(config.output) if config.output else runs[0].folder.parent / "runs.png"
    plot(runs, config.metric, output)
    print(f"\nplot: {output}")
    return 0


def find_runs(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Folders of runs with names that tell them apart. Raises ConfigError for a path with none."""
    found: list[Path] = []
    for path in paths:
        here = [path] if _is_run(path) else sorted(file.parent for file in path.glob("**/metrics.jsonl"))
        here = [folder for folder in here if _is_run(folder)]
        if not here:
            raise ConfigError(f"{path}: no run is there; give a folder that `toolrm train` wrote")
        found += [folder for folder in here if folder not in found]
    parts = 1
    names = [folder.name for folder in found]
    while len(set(names)) < len(names) and parts < 20:
        parts += 1
        names = ["/".join(folder.absolute().parts[-parts:]) for folder in found]
    return list(zip(found, names))


def _is_run(folder: Path) -> bool:
    return (folder / "metrics.jsonl").is_file() and (folder / settings.CONFIG_FILE).is_file()


def read_run(folder: Path, name: str) -> Run:
    """A run from its folder. Raises DataError where its config cannot be read."""
    from toolrm_jax.train.metrics import SPEED, read_metrics

    records = read_metrics(folder)
    kind = lambda name: [record for record in records if record["kind"] == name]  # noqa: E731
    file = folder / settings.CONFIG_FILE
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); leave this run out") from None
    finished = (folder / CARD).is_file()
    return Run(folder, name, finished, _leaves(config), kind("train"), kind("held_out"), read_metrics(folder, SPEED))


def table(runs: Sequence[Run], metric: str) -> list[str]:
    """One line for each run, and below what their settings are where they differ."""
    lower = _lower_is_better(metric)
    head = ("run", "steps", "loss", metric, "best", "at step", "tokens/s", "pairs/s", "MFU", "minutes")
    rows = [head, *(_row(one, metric, lower) for one in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths)) for row in rows)
    ]
    lines.append("loss: mean of the last tenth of steps; speeds: medians; * still under way or stopped")
    if changed := differing(runs):
        lines += ["", "settings that differ"]
        lines += [f"  {one.name}: {', '.join(f'{k}={v}' for k, v in values.items())}" for one, values in changed]
    return lines


def differing(runs: Sequence[Run]) -> list[tuple[Run, dict[str, Any]]]:
    """Of each run the settings that are not the same in all."""
    names = dict.fromkeys(name for one in runs for name in one.config if name not in NOT_COMPARED)
    values = {name: [one.config.get(name, "absent") for one in runs] for name in names}
    names_differing = [name for name, found in values.items() if any(value != found[0] for value in found)]
    if not names_differing:
        return []
    return [(one, {name: values[name][index] for name in names_differing}) for index, one in enumerate(runs)]


def _row(one: Run, metric: str, lower: bool) -> tuple[str, ...]:
    losses = [record["loss"] for record in one.train]
    judged = [(record[metric], record["step"]) for record in one.held_out if metric in record]
    best = min(judged, key=lambda pair: (pair[0] if lower else -pair[0], pair[1])) if judged else None
    middle = lambda name: [record[name] for record in one.speed if name in record]  # noqa: E731
    number = lambda values, form: format(statistics.median(values), form) if values else "-"  # noqa: E731
    return (
        one.name + ("" if one.finished else " *"),
        str(one.steps),
        f"{statistics.fmean(losses[-max(1, len(losses) // 10) :]):.4f}" if losses else "-",
        f"{judged[-1][0]:.4f}" if judged else "-",
        f"{best[0]:.4f}" if best else "-",
        str(best[1]) if best else "-",
        number(middle("tokens_per_second"), ",.0f"),
        number(middle("pairs_per_second"), ",.1f"),
        number(middle("mfu"), ".1%"),
        f"{sum(middle('seconds')) / 60:.1f}",
    )


def plot(runs: Sequence[Run], metric: str, output: Path) -> None:
    """Training loss (running mean) and the held-out metric over steps, a line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for one in runs:
        losses = [record["loss"] for record in one.train]
        window = max(1, len(losses) // SMOOTHING)
        smooth = [statistics.fmean(losses[max(0, i + 1 - window) : i + 1]) for i in range(len(losses))]
        (line,) = left.plot([record["step"] for record in one.train], smooth, label=one.name)
        judged = [(record["step"], record[metric]) for record in one.held_out if metric in record]
        right.plot(*(zip(*judged) if judged else ((), ())), marker="o", markersize=3, color=line.get_color())
    left.set_title("training loss", loc="left")
    right.set_title(f"held-out {metric}", loc="left")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    left.legend(fontsize="small", frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)


def _lower_is_better(metric: str) -> bool:
    from toolrm_jax.train.best import LOWER_IS_BETTER

    return metric in LOWER_IS_BETTER


def _leaves(value: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {where: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{where}.{key}" if where else key)
    return found
