"""A sweep of real trainings, killed twice, ends with the same table as one left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from toolrm_jax.cli import main


@pytest.fixture(scope="module")
def command(bfcl_folder, tiny_model, tmp_path_factory):
    """The words of a sweep of six trainings of sixteen steps, two at a time, less its output."""
    data = tmp_path_factory.mktemp("data") / "groups"
    sides = ("train.categories=live_simple", "held_out.categories=simple_python")
    assert main(["prepare", f"path={bfcl_folder}", f"output={data}", *sides]) == 0
    return [
        *(sys.executable, "-W", "ignore", "-m", "toolrm_jax", "sweep"),
        *("optimizer.learning_rate=1e-3,1e-2", "seed=0:3", "jobs=2"),
        *(f"model.path={tiny_model}", f"data.train={data / 'train'}", f"data.held_out={data / 'held_out'}"),
        *("model.compute_dtype=float32", "data.row_length=512", "data.rows=1", "data.epochs=40"),
        *("steps=16", "evaluate_every=4", "save_every=2", "compile_cache=false"),
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    return os.environ | compiled | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": "cpu"}


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(each) for each in found]


def kill_at(process, folder, steps, runs_too):
    """SIGKILL once so many steps of all runs are on record; `runs_too`: the trainings under way die as well."""
    while sum(file.read_text().count('"train"') for file in folder.glob("runs/*/metrics.jsonl")) < steps:
        assert process.poll() is None, "the sweep ended before it was killed"
        time.sleep(0.05)
    victims = [process.pid, *(children(process.pid) if runs_too else [])]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def table_of(text):
    """From the head of the table on."""
    return text[text.index("\nrun ") :]


@pytest.mark.slow
def test_six_runs_on_two_jobs_killed_twice_end_with_the_table_of_a_sweep_left_alone(command, environment, tmp_path):
    straight = subprocess.run(
        [*command, f"output={tmp_path / 'straight'}"], capture_output=True, text=True, env=environment, check=True
    )
    folder, log = tmp_path / "killed", (tmp_path / "log").open("w")
    for steps, runs_too in ((8, True), (50, False)):
        process = subprocess.Popen([*command, f"output={folder}"], env=environment, stdout=log, stderr=log)
        kill_at(process, folder, steps, runs_too)
    last = subprocess.run([*command, f"output={folder}"], capture_output=True, text=True, env=environment, check=True)
    assert table_of(last.stdout) == table_of(straight.stdout)
    assert table_of(last.stdout).count("done") == 6
    for run in sorted((tmp_path / "straight" / "runs").iterdir()):
        if run.is_dir():
            other = folder / "runs" / run.name
            assert (run / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes(), run.name
