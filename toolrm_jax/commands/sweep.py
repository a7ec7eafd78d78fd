"""Train over settings: each point of a sweep an ordinary `toolrm train` in a folder of its own.

All settings of `toolrm train` are taken as they are there; several values make a sweep:

  optimizer.learning_rate=1e-6,3e-6,1e-5 seed=0:3     a grid of 9 runs; seeds 0, 1, 2
  optimizer.learning_rate=log:1e-6:1e-4 draws=20      so many random points; also uniform:LOW:HIGH, or of a list
  bindings=FILE                                       lines `a.b = 1, 2, 3`
  points=a.gin,b.gin                                  a file of bindings each point
  sweep=NAME                                          a file of configs/sweeps/, or a path

Nothing is started before all points are checked. A killed sweep goes on where it was by the same command; a failed run
is shown with its last lines and does not stop the others. `toolrm sweep status path=OUTPUT` shows what was found,
`toolrm sweep best path=OUTPUT` the best point and the command that trains it again.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import chz

from toolrm_jax.commands import settings
from toolrm_jax.commands.sweep_devices import shares
from toolrm_jax.commands.sweep_halving import run_halving, rungs
from toolrm_jax.commands.sweep_plan import RUNS, Plan, Run, changed_runs, check_data, make_plan, save_plan
from toolrm_jax.commands.sweep_points import Sweep
from toolrm_jax.commands.sweep_runs import Command, Pool, local_command, remove_changed
from toolrm_jax.commands.sweep_table import read_found, table
from toolrm_jax.errors import ConfigError
from toolrm_jax.files import json_hash
from toolrm_jax.train.config import MAY_CHANGE
from toolrm_jax.train.signals import STOPPED

BASE = None
FAILED = 1
SCRIPTS = {"slurm": "slurm.sh", "jobset": "gke.sh"}


@chz.chz
class Config:
    """What is swept over, and how."""

    train: tuple[str, ...] = ()  # the settings of `toolrm train`, written as there, some with several values
    output: str = "runs/sweep"  # the folder; each run is in OUTPUT/runs/NAME
    sweep: str | None = None  # a file of configs/sweeps/, or a path
    points: tuple[str, ...] = ()  # files of bindings, each one point
    draws: int | None = None  # so many random points in place of the grid
    draw_seed: int = 0  # of the random points
    runner: Literal["local", "slurm", "jobset", "print"] = "local"  # print: the commands alone
    jobs: int = 1  # runs at a time; this machine's GPUs are shared out among them
    metric: str = "correct"  # of the held-out groups
    halving: int | None = None  # the step at which the worse points stop for the first time
    keep: int = 3  # of points at such a step, one in so many goes on
    launch: str = "launch"  # the folder of slurm.sh and gke.sh
    options: str = ""  # for those scripts, such as '--nodes 2 --partition gpu'


def read(command: str, kinds: Any, words: Sequence[str], base: str | None) -> settings.Resolved:
    """The config of the command line's words: the sweep's own settings, and the rest for `toolrm train`."""
    own = {*chz.chz_fields(Config), "overwrite"} - {"train"}
    mine = [word for word in words if word.partition("=")[0] in own]
    resolved = settings.resolve(command, Config, mine, base)
    train = tuple(word for word in words if word not in mine)
    lines = (*resolved.difference, *(f"  {word}" for word in train))
    return settings.Resolved(chz.replace(resolved.config, train=train), resolved.overwrite, lines)


def run(config: Config, overwrite: bool = False) -> int:
    """Run the sweep and print what it found; 1 if a run failed, 75 if a signal stopped it."""
    if config.jobs < 1:
        raise ConfigError(f"jobs={config.jobs}: expected a positive whole number")
    plan = make_plan(
        Path(config.output), config.train, _load(config.sweep), config.points, config.draws, config.draw_seed
    )
    steps = rungs(plan, config.halving, config.keep) if config.halving is not None else []
    command = _command(config, plan, overwrite)
    if config.runner == "print":
        for words in plan.before:
            print(shlex.join(["toolrm", *words]))
        for each in plan.runs:
            print(shlex.join(command(each)))
        return 0
    check_data(plan)
    parts = shares(config.jobs, os.environ) if config.runner == "local" else ()
    if overwrite:
        remove_changed(plan)
    save_plan(plan, config.metric, overwrite)
    for words in plan.before:
        print(shlex.join(["toolrm", *words]), flush=True)
        code = subprocess.run([sys.executable, "-m", "toolrm_jax", *words], check=False).returncode
        if code:
            return code
    pool = Pool(plan, command, config.jobs, lambda line: print(line, flush=True), parts)
    ended = run_halving(pool, plan, steps, config.keep, config.metric) if steps else pool.run(plan.runs)
    print("\n".join(["", *table(read_found(plan.folder))]))
    if not ended:
        print("stopped by a signal; the same command goes on from here", file=sys.stderr)
        return STOPPED
    return FAILED if pool.failed else 0


def _load(name: str | None) -> Sweep | None:
    if name is None:
        return None
    known = f"sweeps/{name}"
    try:
        return settings.load_config(known if known in settings.config_names() else name, Sweep)
    except ConfigError as error:
        raise ConfigError(f"sweep={str(error).removeprefix('config=')}") from None


def _command(config: Config, plan: Plan, overwrite: bool) -> Command:
    if config.runner == "local":
        return local_command(plan)

    def train(run: Run) -> list[str]:
        return ["toolrm", "train", *run.words, f"output={plan.path(RUNS, run.name)}"]

    if config.runner == "print":
        changed = changed_runs(plan) if overwrite else {}
        return lambda run: [*train(run), *(["overwrite=true"] if run.name in changed else [])]
    if config.halving is not None:
        raise ConfigError(f"halving={config.halving}: needs runner=local, where a run can be told to stop at a step")
    script = Path(config.launch) / SCRIPTS[config.runner]
    if not script.is_file():
        raise ConfigError(f"launch={config.launch}: has no {script.name}; give the repository's folder launch")
    before = ["--name"] if config.runner == "slurm" else ["run"]
    # A job that has completed without the run being done here is no end of it.
    options = [*shlex.split(config.options), *(["--again"] if config.runner == "jobset" else [])]
    return lambda run: [str(script), *before, job_name(plan, run), *options, "--wait", "--", *train(run)]


def job_name(plan: Plan, run: Run) -> str:
    """A name of small letters, digits and - for a cluster: the same for the same run of the same folder.

    Not for one with other settings: its job may be in the queue yet, and would be joined as if it were this one.
    """
    words = re.sub(r"[^a-z0-9]+", "-", f"{plan.folder.name}-{run.name}".lower()).strip("-")
    made_from = json_hash(settings.as_json(run.config, *MAY_CHANGE))
    mark = sha256(f"{plan.folder}\0{run.name}\0{made_from}".encode()).hexdigest()[:6]
    return f"s{words[:30].rstrip('-')}-{mark}" if not words[:1].isalpha() else f"{words[:30].rstrip('-')}-{mark}"
