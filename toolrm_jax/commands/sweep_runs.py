"""Runs as processes of their own, so many at a time: a failed one does not stop the others, a killed sweep goes on.

Each run holds a lock while it lives. So a sweep that was killed and is started again while its runs still go on, waits
for these instead of starting them twice.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from toolrm_jax.commands.sweep_devices import meet
from toolrm_jax.commands.sweep_plan import FAILED, LOCKS, LOGS, RUNS, Plan, Run, changed_runs
from toolrm_jax.errors import ConfigError
from toolrm_jax.files import write_file
from toolrm_jax.train.signals import STOPPED, stop_requests

POLL = 0.2  # seconds
RESTARTS = 50
"""How often a run that something stops with a signal is started again."""
LAST_LINES = 8

Command = Callable[[Run], Sequence[str]]
Value = Callable[[Path, int], float | None]


@dataclasses.dataclass(slots=True)
class Process:
    """A run under way; `share`: which of the pool's shares of the machine it has; `asked`: it was told to stop."""

    run: Run
    process: subprocess.Popen[bytes]
    starts: int
    share: int
    asked: bool = False


def local_command(plan: Plan) -> Command:
    """An ordinary `toolrm train` on this machine."""

    def command(run: Run) -> list[str]:
        return [sys.executable, "-m", "toolrm_jax", "train", *run.words, f"output={plan.path(RUNS, run.name)}"]

    return command


def share_of(plan: Plan, name: str) -> dict[str, str]:
    """What a run under way got of the machine, as environment variables, by its lock; nothing of one that is not."""
    lock = hold(plan, name)
    if lock is None:
        return json.loads(plan.path(LOCKS, name).read_text() or "{}")
    os.close(lock)
    return {}


def hold(plan: Plan, name: str) -> int | None:
    """The run's lock as a file descriptor, to be closed; None while a process of the run has it."""
    lock = os.open(plan.path(LOCKS, name), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def remove_changed(plan: Plan) -> None:
    """Remove the runs that are there with other settings than the plan's, and why they failed if they did.

    Before the plan is saved: else what they found would stand in the tables under the new settings. Raises ConfigError,
    with nothing removed, where one is under way.
    """
    changed, held = list(changed_runs(plan)), []
    if changed:
        (plan.folder / LOCKS).mkdir(exist_ok=True)
    try:
        for name in changed:
            lock = hold(plan, name)
            if lock is None:
                raise ConfigError(f"{plan.path(RUNS, name)}: is under way with other settings; stop it first")
            held.append(lock)
        for name in changed:
            retired = plan.path(RUNS, f".{name}.retired")
            shutil.rmtree(retired, ignore_errors=True)
            plan.path(RUNS, name).rename(retired)
            plan.path(FAILED, name).unlink(missing_ok=True)
            shutil.rmtree(retired)
    finally:
        for lock in held:
            os.close(lock)


class Pool:
    """Runs the runs of a plan, `jobs` at a time. `shares`: for each what its environment gets, such as its GPUs."""

    def __init__(
        self,
        plan: Plan,
        command: Command,
        jobs: int,
        say: Callable[[str], None] = print,
        shares: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.plan, self.command, self.jobs, self.say = plan, command, jobs, say
        self.shares = [dict(share) for share in shares] or [{} for _ in range(jobs)]
        self.failed: dict[str, int] = {}
        self.told: set[str] = set()
        for kind in (RUNS, LOGS, LOCKS, FAILED):
            (plan.folder / kind).mkdir(parents=True, exist_ok=True)

    def run(self, runs: Sequence[Run], until: int | None = None, value: Value | None = None) -> bool:
        """Bring the runs to their ends, or (`until`) to where `value(folder, step)` is known. False: told to stop."""
        waiting = [run for run in runs if run.name not in self.failed and not self._there(run, until, value)]
        active: list[Process] = []
        with stop_requests() as stop:
            while waiting or active:
                while waiting and len(active) < self.jobs and not stop.asked:
                    share = self._free_share(active)
                    if share is None:  # what is free belongs to runs that outlived a killed sweep
                        break
                    started = self._start(waiting[0], 1, share)
                    if started is None:  # it lives already: another may be free meanwhile
                        waiting.append(waiting.pop(0))
                        break
                    active.append(started)
                    waiting.pop(0)
                if stop.asked and not active:
                    return False
                time.sleep(POLL)
                active = [each for one in active if (each := self._look(one, until, value, stop.asked))]
                waiting = [run for run in waiting if not self._there(run, until, value)]
        return not stop.asked

    def _there(self, run: Run, until: int | None, value: Value | None) -> bool:
        if self.plan.done(run):
            return True
        return until is not None and value is not None and value(self.plan.path(RUNS, run.name), until) is not None

    def _free_share(self, active: Sequence[Process]) -> int | None:
        free = set(range(self.jobs)) - {one.share for one in active}
        if any(self.shares):
            ours = {one.run.name for one in active}
            for run in self.plan.runs:
                if run.name not in ours and (taken := share_of(self.plan, run.name)):
                    self._tell(run)
                    free = {share for share in free if not meet(self.shares[share], taken)}
        return min(free, default=None)

    def _tell(self, run: Run) -> None:
        if run.name not in self.told:
            self.told.add(run.name)
            self.say(f"{run.name}: is under way since before; waiting for it")

    def _start(self, run: Run, starts: int, share: int) -> Process | None:
        """The run's process, which holds the run's lock from here on; None while another holds it."""
        lock = hold(self.plan, run.name)
        if lock is None:
            self._tell(run)
            return None
        try:
            self.plan.path(FAILED, run.name).unlink(missing_ok=True)
            os.truncate(lock, 0)
            os.write(lock, json.dumps(self.shares[share]).encode())
            with self.plan.path(LOGS, run.name).open("ab") as log:
                process = subprocess.Popen(
                    self.command(run),
                    env=os.environ | self.shares[share],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,  # Ctrl-C reaches the runs once, from us: a second signal would not save
                )
        finally:
            os.close(lock)
        if starts == 1:
            self.say(f"{run.name}: started")
        return Process(run, process, starts, share)

    def _look(self, one: Process, until: int | None, value: Value | None, stopping: bool) -> Process | None:
        """The process, if it is still under way; else what became of it is told and written down."""
        folder, run = self.plan.path(RUNS, one.run.name), one.run
        code = one.process.poll()
        if code is None:
            arrived = until is not None and value is not None and value(folder, until) is not None
            if (stopping or arrived) and not one.asked:
                one.asked = True
                one.process.send_signal(signal.SIGTERM)
            return one
        if self.plan.done(run):
            self.say(f"{run.name}: done")
        elif one.asked:
            self.say(f"{run.name}: stopped{'' if stopping else f' at step {until}'}")
        elif code == STOPPED and one.starts < RESTARTS:
            return self._start(run, one.starts + 1, one.share)
        else:
            lines = last_lines(self.plan.path(LOGS, run.name))
            if code == 0:
                lines.append(f"it ended well, but {folder} is not complete: does this machine see what it wrote?")
            self.failed[run.name] = code
            write_file(self.plan.path(FAILED, run.name), json.dumps({"code": code, "lines": lines}) + "\n")
            self.say("\n".join([f"{run.name}: failed (code {code})", *(f"    {line}" for line in lines)]))
        return None


def last_lines(file: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log; of a line that was overwritten in place, as progress bars do, its last state."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 100_000))
        text = log.read().decode("utf-8", "replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line][-count:]
