"""Several trainings on one machine: each its own GPUs, and none beside another on a TPU host."""

import fcntl
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from toolrm_jax.commands import sweep_devices
from toolrm_jax.commands.sweep_devices import VISIBLE, has_tpu, shares
from toolrm_jax.commands.sweep_plan import LOCKS, RUNS, make_plan, save_plan
from toolrm_jax.commands.sweep_runs import Pool
from toolrm_jax.errors import ConfigError


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """A machine with four GPUs and no TPU, by its nvidia-smi."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = "".join(f"GPU {number}: Some GPU (UUID: GPU-{number})\n  MIG 1g: x\n" for number in range(4))
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(sweep_devices, "has_tpu", lambda: False)


@pytest.mark.parametrize(
    ("jobs", "environment", "expected"),
    [
        (1, {}, [{}]),
        (2, {}, [{VISIBLE: "0,1"}, {VISIBLE: "2,3"}]),
        (3, {}, [{VISIBLE: "0"}, {VISIBLE: "1"}, {VISIBLE: "2"}]),
        (2, {VISIBLE: "1, GPU-3"}, [{VISIBLE: "1"}, {VISIBLE: "GPU-3"}]),
        (2, {VISIBLE: ""}, [{}, {}]),
        (2, {VISIBLE: "-1"}, [{}, {}]),
        (9, {"JAX_PLATFORMS": "cpu"}, [{}] * 9),
    ],
)
def test_gpus_are_dealt_out_and_none_twice(four_gpus, jobs, environment, expected):
    assert shares(jobs, environment) == expected


def test_more_jobs_than_gpus_are_refused(four_gpus):
    with pytest.raises(ConfigError, match="jobs=5: this machine has 4 GPUs"):
        shares(5, {})


def test_a_tpu_is_not_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_devices, "has_tpu", lambda: True)
    with pytest.raises(ConfigError, match="jobs=2: this is a TPU host"):
        shares(2, {})
    assert shares(1, {}) == [{}]
    monkeypatch.setattr(sweep_devices, "find_spec", lambda name: True)
    assert not has_tpu(tmp_path)
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # is there without a chip, too
    assert not has_tpu(tmp_path)
    (tmp_path / "vfio" / "0").touch()
    assert has_tpu(tmp_path)


def test_a_machine_without_accelerators_runs_as_many_as_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sweep_devices, "has_tpu", lambda: False)
    assert shares(3, {}) == [{}] * 3


RUN = f"""
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
(folder / "began").write_text(f"{{time.monotonic()}} {{os.environ['{VISIBLE}']}}")
time.sleep(0.4)
(folder / "ended").write_text(str(time.monotonic()))
(folder / "card.json").write_text("{{}}")
"""


def test_no_two_runs_have_a_gpu_at_one_time_not_even_one_that_outlived_a_killed_sweep(tmp_path):
    words = ["model.path=m", "data.train=t", "data.held_out=h", "seed=0:5"]
    plan = make_plan(tmp_path / "sweep", words, None, (), None, 0)
    save_plan(plan, "correct", False)

    def command(run):
        return [sys.executable, "-c", RUN, str(plan.path(RUNS, run.name))]

    pool = Pool(plan, command, 2, print, [{VISIBLE: "0"}, {VISIBLE: "1"}])
    orphan = plan.runs[4]
    lock = os.open(plan.path(LOCKS, orphan.name), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, b'{"CUDA_VISIBLE_DEVICES": "1,2"}')  # of a sweep with fewer jobs
    process = subprocess.Popen(command(orphan), env=os.environ | {VISIBLE: "1"}, pass_fds=(lock,))
    os.close(lock)
    assert pool.run(plan.runs)
    assert process.wait() == 0
    spans = {"0": [], "1": []}
    for run in plan.runs:
        began, device = (plan.path(RUNS, run.name) / "began").read_text().split()
        spans[device].append((float(began), float((plan.path(RUNS, run.name) / "ended").read_text())))
    assert all(spans.values())
    for times in spans.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(times)))
