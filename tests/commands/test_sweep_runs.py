"""How runs are run: so many at a time, each once; failures, kills, signals and halving. The runs here are scripts."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from toolrm_jax.commands.sweep_halving import kept, run_halving, rungs
from toolrm_jax.commands.sweep_plan import LOCKS, RUNS, make_plan, save_plan
from toolrm_jax.commands.sweep_runs import Pool, last_lines
from toolrm_jax.commands.sweep_table import read_found, table
from toolrm_jax.errors import ConfigError

RUN = """
import json, os, pathlib, signal, sys, time
folder, seed, steps, fails = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "fails"
folder.mkdir(parents=True, exist_ok=True)
with (folder / "starts").open("a") as file: file.write("x")
metrics = folder / "metrics.jsonl"
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
for step in range(done + 1, steps + 1):
    with metrics.open("a") as file:
        file.write(json.dumps({"kind": "held_out", "step": step, "correct": (seed + step) / 100}) + chr(10))
    print("step", step, flush=True)
    if fails and step == 2: sys.exit("out of memory")
    time.sleep(0.02)
    if asked: sys.exit(75)
(folder / "card.json").write_text("{}")
"""


def sweep(tmp_path, seeds, steps=10, fails=()):
    words = ["model.path=m", "data.train=t", "data.held_out=h", "evaluate_every=1", f"seed={seeds}"]
    plan = make_plan(tmp_path / "sweep", words, None, (), None, 0)
    save_plan(plan, "correct", False)

    def command(run):
        how = "fails" if run.config.seed in fails else "runs"
        return [sys.executable, "-c", RUN, str(plan.path(RUNS, run.name)), str(run.config.seed), str(steps), how]

    return plan, command


def starts(plan):
    return {run.config.seed: len((plan.path(RUNS, run.name) / "starts").read_text()) for run in plan.runs}


def test_every_run_ends_and_a_second_call_starts_none(tmp_path):
    plan, command = sweep(tmp_path, "0:5")
    said = []
    assert Pool(plan, command, 2, said.append).run(plan.runs)
    assert Pool(plan, command, 2, said.append).run(plan.runs)
    assert starts(plan) == dict.fromkeys(range(5), 1)
    assert len(said) == 10
    assert [result.value for result in read_found(plan.folder).results] == [(seed + 10) / 100 for seed in range(5)]


def test_a_failed_run_is_shown_with_its_last_lines_stops_no_other_and_is_tried_again_by_the_next_call(tmp_path):
    plan, command = sweep(tmp_path, "0:3", fails={1})
    said = []
    pool = Pool(plan, command, 1, said.append)
    assert pool.run(plan.runs)
    assert list(pool.failed) == ["seed=1"]
    (told,) = [line for line in said if "failed" in line]
    assert told.splitlines()[0] == "seed=1: failed (code 1)"
    assert told.splitlines()[-1].strip() == "out of memory"
    found = read_found(plan.folder)
    assert [result.state for result in found.results] == ["done", "failed", "done"]
    assert "    out of memory" in "\n".join(table(found))
    plan, command = sweep(tmp_path, "0:3")
    assert Pool(plan, command, 1, said.append).run(plan.runs)
    assert [result.state for result in read_found(plan.folder).results] == ["done"] * 3


def test_a_run_that_lives_on_from_a_killed_sweep_is_waited_for_and_not_started_twice(tmp_path):
    plan, command = sweep(tmp_path, "0:2", steps=60)
    for kind in (RUNS, LOCKS):
        (plan.folder / kind).mkdir(parents=True)
    lock = os.open(plan.path(LOCKS, "seed=0"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    orphan = subprocess.Popen(command(plan.runs[0]), pass_fds=(lock,), stdout=subprocess.DEVNULL)
    os.close(lock)
    said = []
    assert Pool(plan, command, 2, said.append).run(plan.runs)
    assert orphan.wait() == 0
    assert starts(plan) == {0: 1, 1: 1}
    assert "seed=0: is under way since before; waiting for it" in said


def test_a_signal_stops_all_runs_once_they_have_saved_and_the_same_call_goes_on(tmp_path):
    plan, command = sweep(tmp_path, "0:3", steps=100)

    def stop():
        while not all((plan.path(RUNS, f"seed={seed}") / "metrics.jsonl").exists() for seed in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert not Pool(plan, command, 2, print).run(plan.runs)
    assert not any(plan.done(run) for run in plan.runs)
    assert not plan.path(RUNS, "seed=2").exists()
    assert Pool(plan, command, 2, print).run(plan.runs)
    assert starts(plan) == {0: 2, 1: 2, 2: 1}
    assert [result.value for result in read_found(plan.folder).results] == [1.0, 1.01, 1.02]


def test_a_run_that_something_else_stopped_is_started_again(tmp_path):
    plan, command = sweep(tmp_path, "0:1", steps=60)

    def preempt():
        metrics = plan.path(RUNS, "run") / "metrics.jsonl"
        while not metrics.exists():
            time.sleep(0.02)
        children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=True).stdout
        for child in children.split():
            os.kill(int(child), signal.SIGTERM)

    threading.Thread(target=preempt).start()
    assert Pool(plan, command, 1, print).run(plan.runs)
    assert starts(plan) == {0: 2}


def test_halving_lets_the_best_go_on_and_stops_the_others_at_the_rung(tmp_path):
    words = ["model.path=m", "data.train=t", "data.held_out=h", "evaluate_every=1", "loss.centring=0,1,2,3", "seed=0:2"]
    plan = make_plan(tmp_path / "halved", words, None, (), None, 0)
    save_plan(plan, "correct", False)

    def command(run):
        good = int(10 * run.config.loss.centring + run.config.seed)
        return [sys.executable, "-c", RUN, str(plan.path(RUNS, run.name)), str(good), "120", "runs"]

    steps = rungs(plan, 3, 2)
    assert steps == [3, 6]
    pool = Pool(plan, command, 3, print)
    assert run_halving(pool, plan, steps, 2, "correct")
    ended = {run.config.loss.centring for run in plan.runs if plan.done(run)}
    assert ended == {3.0}
    assert [run.config.loss.centring for run in kept(plan, plan.runs, 3, 2, "correct")] == [2, 2, 3, 3]
    # Told again, it has nothing to do: the decisions follow from what is on record.
    before = starts_of(plan)
    assert run_halving(Pool(plan, command, 1, print), plan, steps, 2, "correct")
    assert starts_of(plan) == before


def starts_of(plan):
    return [(plan.path(RUNS, run.name) / "starts").read_text() for run in plan.runs]


def test_a_rung_at_which_nothing_is_judged_is_told(tmp_path):
    words = ["model.path=m", "data.train=t", "data.held_out=h", "evaluate_every=50", "seed=0", "loss.centring=0,1"]
    plan = make_plan(tmp_path, words, None, (), None, 0)
    with pytest.raises(ConfigError, match=r"halving=20: .* is not judged at step 20; give a multiple of"):
        rungs(plan, 20, 3)


def test_points_may_be_added_and_none_taken_away(tmp_path):
    sweep(tmp_path, "0:2")
    plan, _ = sweep(tmp_path, "0:3")
    assert len(read_found(plan.folder).results) == 3
    with pytest.raises(ConfigError, match="holds a sweep with the point seed=2, which this one lacks"):
        sweep(tmp_path, "0:2")


def test_the_mean_over_seeds_has_students_interval(tmp_path):
    plan, command = sweep(tmp_path, "0:3")
    assert Pool(plan, command, 3, print).run(plan.runs)
    (group,) = read_found(plan.folder).groups
    assert group.mean == pytest.approx(0.11)
    # 4.302653 is the 97.5 % point of Student's t with two degrees of freedom; 0.01 the deviation of 0.10, 0.11, 0.12.
    assert group.half == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-6)


def test_of_a_line_that_a_progress_bar_overwrote_its_last_state_is_shown(tmp_path):
    log = tmp_path / "log"
    log.write_bytes("one\n\n10%\r20%\r30%\nü".encode() + b"\xff\n")
    assert last_lines(log, 2) == ["30%", "ü\ufffd"]


def test_the_record_is_json_with_the_words_of_every_run(tmp_path):
    plan, _ = sweep(tmp_path, "0:2")
    record = json.loads((plan.folder / "sweep.json").read_text())
    assert [run["name"] for run in record["runs"]] == ["seed=0", "seed=1"]
    assert "seed=1" in record["runs"][1]["words"]
