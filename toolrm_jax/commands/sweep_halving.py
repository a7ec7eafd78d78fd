"""Successive halving: all points to a first step, the best of them further, and so on.

Decided by the held-out metric at the rung's own step, over the seeds of a point, once all have come there: so what is
stopped does not depend on how many run at a time or who is first (Jamieson and Talwalkar, arXiv 1502.07943). A stopped
run is one that saved and left; the same training goes on where it is let. Optuna's pruner decides as runs arrive, with
another result for each order, and so was turned down.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.commands.sweep_plan import RUNS, Plan, Run
from toolrm_jax.commands.sweep_points import SEED
from toolrm_jax.commands.sweep_runs import Pool
from toolrm_jax.commands.sweep_table import judged, lower_is_better
from toolrm_jax.errors import ConfigError


def rungs(plan: Plan, first: int, keep: int) -> list[int]:
    """The steps where points are left out: `first`, times `keep` each time, until one is left or the runs end.

    Raises ConfigError where a run is not judged at such a step.
    """
    if first < 1 or keep < 2:
        raise ConfigError(f"halving={first}, keep={keep}: expected a step from 1 on, and one in 2 or more to be kept")
    last = min((run.config.steps for run in plan.runs if run.config.steps), default=math.inf)
    found, left = [], len({_key(run) for run in plan.runs})
    while left > 1 and first < last:
        found.append(first)
        for run in plan.runs:
            if first % run.config.evaluate_every:
                raise ConfigError(
                    f"halving={found[0]}: {run.name} is not judged at step {first}; give a multiple of "
                    f"evaluate_every={run.config.evaluate_every}"
                )
        left, first = max(1, left // keep), first * keep
    return found


def run_halving(pool: Pool, plan: Plan, steps: Sequence[int], keep: int, metric: str) -> bool:
    """Run the sweep so. False: told to stop."""

    def value(folder: Path, step: int) -> float | None:
        return judged(folder, metric).get(step)

    active = list(plan.runs)
    for step in steps:
        if not pool.run(active, step, value):
            return False
        active = kept(plan, active, step, keep, metric)
        pool.say(f"step {step}: {len(active)} runs go on: {', '.join(run.name for run in active) or 'none'}")
    return pool.run(active)


def kept(plan: Plan, active: Sequence[Run], step: int, keep: int, metric: str) -> list[Run]:
    """The runs of the best 1/`keep` of the points by their mean at `step`; of equal ones, those that stand first."""
    groups: dict[str, list[Run]] = {}
    for run in active:
        groups.setdefault(_key(run), []).append(run)
    values = {}
    for key, runs in groups.items():
        found = [judged(plan.path(RUNS, run.name), metric).get(step) for run in runs]
        there = [value for value in found if value is not None]
        if there:
            values[key] = statistics.fmean(there)
    sign = 1 if lower_is_better(metric) else -1
    ranked = sorted(values, key=lambda key: sign * values[key])
    chosen = set(ranked[: max(1, len(groups) // keep)])
    return [run for run in active if _key(run) in chosen]


def _key(run: Run) -> str:
    return json.dumps({name: value for name, value in run.point.items() if name != SEED})
