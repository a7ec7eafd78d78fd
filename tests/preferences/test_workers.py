"""Units of work in several processes: all are done, a fault is told, and no worker outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.workers import run_all

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from worker_jobs import sleepy
from toolrm_jax.preferences.workers import run_all
if __name__ == "__main__":
    run_all(sleepy, [(sys.argv[1], i) for i in range(4)], workers=2)
"""
JOBS = """
import os, time
from pathlib import Path
def sleepy(folder, number):
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(60)
def touch(folder, number):
    Path(folder, str(number)).touch()
def fail(number):
    if number == 1: raise ValueError("one is bad")
def die(number):
    os._exit(9)
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Functions that a spawned process can import."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "worker_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    sys.modules.pop("worker_jobs", None)
    import worker_jobs

    return worker_jobs


@pytest.mark.parametrize("workers", [1, 2])
def test_every_unit_is_done(jobs, tmp_path, workers):
    (tmp_path / "out").mkdir()
    run_all(jobs.touch, [(str(tmp_path / "out"), i) for i in range(7)], workers)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [str(i) for i in range(7)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_fault_of_a_unit_is_that_of_all(jobs, workers):
    with pytest.raises(ValueError, match="one is bad"):
        run_all(jobs.fail, [(i,) for i in range(3)], workers)


def test_a_worker_that_is_killed_is_told_in_one_line(jobs):
    with pytest.raises(DataError, match="worker process was killed"):
        run_all(jobs.die, [(i,) for i in range(2)], 2)


def test_workers_end_when_the_process_that_started_them_is_killed(jobs, tmp_path):
    (tmp_path / "main.py").write_text(SCRIPT)
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "out"), str(tmp_path / "code")]
    running = subprocess.Popen(command)
    try:
        _wait(lambda: len(list((tmp_path / "out").glob("pid-*"))) == 2)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    pids = [int(path.name[4:]) for path in (tmp_path / "out").glob("pid-*")]
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def _wait(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_worker_is_refused():
    with pytest.raises(ConfigError, match="workers=0"):
        run_all(print, [(1,)], 0)
