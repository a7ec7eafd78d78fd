"""Several processes train as one: the same batches, losses and weights; and how they find one another."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.hosts import find

PROGRAM = Path(__file__).with_name("several_hosts.py")
FAILING = Path(__file__).with_name("failing_host.py")
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
}


def start(program: Path, processes: int, *words: object) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for number in range(processes):
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        if processes > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(processes)}
            environment |= {"JAX_PROCESS_ID": str(number)}
        command = [sys.executable, "-W", "ignore", str(program), *map(str, words)]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    return started


def run_processes(folder: Path, processes: int, devices: int) -> list[dict]:
    told = []
    for process in start(PROGRAM, processes, folder, devices):
        out, error = process.communicate(timeout=900)
        assert process.returncode == 0, error[-3000:]
        told.append(json.loads(next(line for line in out.splitlines() if line.startswith("TOLD "))[5:]))
    return told


def test_where_one_process_fails_none_waits_for_it_as_long_as_jax_would():
    first, second = start(FAILING, 2)
    said, _ = second.communicate(timeout=90)  # JAX has it wait five minutes
    assert (second.returncode, said.splitlines()[-1]) == (2, "the disk of this host is gone")
    first.communicate(timeout=90)
    assert first.returncode not in (0, None)


@pytest.mark.slow
def test_two_processes_of_four_devices_train_as_one_of_eight(tmp_path):
    (one,) = run_processes(tmp_path / "one", 1, 8)
    first, second = run_processes(tmp_path / "two", 2, 4)
    assert (one["processes"], one["devices"], one["joined"]) == (1, [8, 8], None)
    assert first["joined"].startswith("process 0 of 2 (explicit settings)")
    assert (second["processes"], second["devices"]) == (2, [4, 8])
    assert sorted(first["mine"] + second["mine"]) == one["mine"] == list(range(8)), "the rows are shared out"
    assert first["any"] == second["any"] == [True, False], "a signal to one process stops all"
    assert len(one["records"]) == 6, "three steps, and the held-out groups before steps 0 and 2 and at the end"
    for ours, theirs in zip(first["records"], one["records"], strict=True):
        assert ours[:2] == theirs[:2]
        pairs = [(a, b) for a, b in zip(ours[2:], theirs[2:], strict=True) if (a, b) != (None, None)]
        assert pairs
        assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairs), (ours, theirs)
    assert first["sums"] == second["sums"] == pytest.approx(one["sums"], rel=1e-5)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(tmp_path):
    first, _ = run_processes(tmp_path, 2, 4)
    (one,) = run_processes(tmp_path, 1, 8)
    assert one["sums"] == pytest.approx(first["sums"], rel=1e-6), "the checkpoint is read on other hosts"


@pytest.mark.parametrize(
    ("environment", "chips", "how", "arguments"),
    [
        ({}, False, None, {}),
        ({"JAX_PLATFORMS": "cpu"}, True, None, {}),
        ({"TPU_WORKER_HOSTNAMES": "t0"}, True, None, {}),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True, "TPU pod", {}),
        ({"TPU_WORKER_HOSTNAMES": "t0", "MEGASCALE_COORDINATOR_ADDRESS": "s0"}, True, "TPU pod", {}),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, False, None, {}),
        ({}, True, "TPU pod", {}),
        (SLURM, False, "Slurm", {}),
        (SLURM | {"SLURM_NTASKS": "1"}, False, None, {}),
        (
            SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"},
            False,
            "Slurm, one task a node",
            {"local_device_ids": [0, 1, 2, 3]},
        ),
        (SLURM | {"SLURM_GPUS_ON_NODE": "2"}, False, "Slurm, one task a node", {"local_device_ids": [0, 1]}),
        (SLURM | {"SLURM_NTASKS": "8", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, False, "Slurm", {}),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"} | SLURM,
            True,
            "explicit settings",
            {"coordinator_address": "h:1", "num_processes": 4, "process_id": 3},
        ),
    ],
)
def test_how_processes_find_one_another(environment, chips, how, arguments):
    found = find(environment, chips)
    assert (found and found.how) == how
    assert dict(found.arguments if found else {}) == arguments


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "h:1"}, "JAX_NUM_PROCESSES is not"),
        (
            {"JAX_COORDINATOR_ADDRESS": "h", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            "JAX_COORDINATOR_ADDRESS=h: expected HOST:PORT",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2: with JAX_NUM_PROCESSES=2 expected 0 to 1, such as 1",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
            "JAX_NUM_PROCESSES=two: expected a whole number",
        ),
    ],
)
def test_half_told_settings_are_refused_in_one_line(environment, says):
    with pytest.raises(ConfigError, match=says) as error:
        find(environment, False)
    assert "\n" not in str(error.value)
