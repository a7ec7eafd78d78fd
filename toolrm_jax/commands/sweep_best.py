"""Name a sweep's best point by its mean over seeds, and the command that trains it again."""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.sweep_table import best_group, interval, number, read_found, rerun
from toolrm_jax.errors import ConfigError

BASE = None


@chz.chz
class Config:
    """Which sweep."""

    path: str  # the output of `toolrm sweep`
    metric: str | None = None  # of the held-out groups; None: the sweep's own
    output: str = "runs/best"  # of the command that is printed


def run(config: Config, overwrite: bool = False) -> int:
    """Print it."""
    found = read_found(Path(config.path), config.metric)
    best = best_group(found)
    if best is None:
        raise ConfigError(f"{config.path}: no run has come to its end with {found.metric}; go on with the sweep")
    done = [result for result in best.results if result.state == "done" and result.value is not None]
    print(f"best: {' '.join(f'{name}={value}' for name, value in best.point.items()) or 'the only point'}")
    print(f"mean {found.metric} {number(best.mean)}, 95 % interval {interval(best)}, {len(done)} runs")
    # Any of its seeds is as good a guess; the first is no choice by luck.
    print(f"run: {found.folder / 'runs' / done[0].name}")
    print(rerun(done[0], config.output))
    return 0
