"""A run that is killed at any moment and started again ends as one that was not, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from toolrm_jax.train.signals import STOPPED

PROGRAM = Path(__file__).with_name("survivor.py")
KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
# One process joins too, alone: CPU devices add up in another order where none did.
ONE = {"processes": 1, "joined": True, "devices": 8, "mesh": {"data": 2, "fsdp": 4}}
TWO = ONE | {"processes": 2, "devices": 4}


def start(folder: Path, leg: dict, errors: Path) -> list[subprocess.Popen]:
    """The processes of one start of a run; what they say goes to `errors`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "SURVIVOR_COMPILED": str(errors.parent / "compiled")}
    count, command = leg.get("processes", 1), [sys.executable, "-W", "ignore", str(PROGRAM)]
    told = json.dumps(
        {"folder": str(folder), **{k: v for k, v in leg.items() if k in ("settings", "mesh", "devices", "dry")}}
    )
    started = []
    for number in range(count):
        if leg.get("joined"):
            environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
            environment |= {"JAX_PROCESS_ID": str(number)}
        with errors.open("a") as file:
            started.append(subprocess.Popen([*command, told], env=environment, stderr=file))
    return started


def run_leg(folder: Path, leg: dict) -> list[int]:
    """Start a run, let it end or (`at`) send it its signal a few milliseconds after so many steps are on record.

    A kill takes all processes, any other signal reaches the last one alone. Gives their exit codes.
    """
    errors = folder.with_suffix(".stderr")
    started = start(folder, leg, errors)
    if "at" in leg:
        while steps_on_record(folder) < leg["at"] and all(process.poll() is None for process in started):
            time.sleep(0.02)
        time.sleep(random.Random(leg["at"]).uniform(0, 0.05))
        for process in started if leg["signal"] == KILL else started[-1:]:
            process.send_signal(leg["signal"])
    codes = [process.wait(timeout=900) for process in started]
    assert 1 not in codes, errors.read_text()[-4000:]
    return codes


def steps_on_record(folder: Path) -> int:
    records = folder / "metrics.jsonl"
    return records.read_text().count('"kind": "train"') if records.exists() else 0


def survive(folder: Path, *legs: dict) -> list[list[int]]:
    """The exit codes of each start of a run."""
    return [run_leg(folder, leg) for leg in legs]


def saved(folder: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by name: parameters, optimiser and step."""
    path = (folder / "checkpoints" / str(step) / "arrays").absolute()
    reader = ocp.PyTreeCheckpointer()
    known = reader.metadata(path).item_metadata.tree
    found = reader.restore(path, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), known))
    return {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in jax.tree.leaves_with_path(found)}


def assert_same_bits(there: Path, here: Path, step: int) -> None:
    a, b = saved(there, step), saved(here, step)
    assert a.keys() == b.keys()
    assert any("optimizer" in name for name in a)
    assert any(np.any(values) for name, values in a.items() if "params" in name)
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name
    assert (there / "metrics.jsonl").read_bytes() == (here / "metrics.jsonl").read_bytes()


def killed(steps: int, kills: int, **leg: object) -> list[dict]:
    """The starts of a run killed at random steps, and then let go to its end."""
    at = sorted(random.Random(1).sample(range(1, steps), kills))
    leg["settings"] = {"steps": steps, **leg.get("settings", {})}
    return [*({"signal": KILL, "at": step, **leg} for step in at), leg]


def apart(there: Path, here: Path, step: int) -> float:
    """The largest difference of any number of two checkpoints."""
    a, b = saved(there, step), saved(here, step)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name].astype(np.float64) - b[name].astype(np.float64)).max()) for name in a)


def test_a_run_killed_then_stopped_by_a_signal_equals_one_left_alone_bit_for_bit(tmp_path):
    short = {"settings": {"steps": 20}}
    assert survive(tmp_path / "straight", short) == [[0]]
    legs = {"signal": KILL, "at": 7} | short, {"signal": TERM, "at": 13} | short, short
    assert survive(tmp_path / "killed", *legs) == [[-KILL], [STOPPED], [0]]
    assert_same_bits(tmp_path / "straight", tmp_path / "killed", 20)


@pytest.mark.slow
def test_two_processes_train_as_one_with_as_many_devices_bit_for_bit(tmp_path):
    short = {"mesh": {"data": 2}, "settings": {"steps": 4, "evaluate_every": 2, "save_every": 2}}
    assert survive(tmp_path / "one", short | {"devices": 2}) == [[0]]
    assert survive(tmp_path / "two", short | {"devices": 1, "processes": 2, "joined": True}) == [[0, 0]]
    assert_same_bits(tmp_path / "one", tmp_path / "two", 4)
    own = tmp_path / "two" / "hosts" / "1" / "metrics.jsonl"
    assert own.read_bytes() == (tmp_path / "two" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_sixty_steps_killed_ten_times_equal_sixty_steps_straight(tmp_path):
    assert survive(tmp_path / "straight", {}) == [[0]]
    assert survive(tmp_path / "killed", *killed(60, 10)) == [[-KILL]] * 10 + [[0]]
    assert_same_bits(tmp_path / "straight", tmp_path / "killed", 60)


@pytest.mark.slow
def test_two_processes_of_four_devices_killed_and_resumed_equal_two_left_alone(tmp_path):
    assert survive(tmp_path / "straight", TWO) == [[0, 0]]
    assert survive(tmp_path / "killed", *killed(60, 3, **TWO)) == [[-KILL, -KILL]] * 3 + [[0, 0]]
    assert_same_bits(tmp_path / "straight", tmp_path / "killed", 60)


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_at_one_step_and_another_number_goes_on(tmp_path):
    assert survive(tmp_path / "straight", TWO) == [[0, 0]]
    legs = {"signal": TERM, "at": 25} | TWO, {"signal": KILL, "at": 45} | ONE, TWO
    assert survive(tmp_path / "killed", *legs) == [[STOPPED, STOPPED], [-KILL], [0, 0]]
    assert_same_bits(tmp_path / "straight", tmp_path / "killed", 60)


@pytest.mark.slow
def test_a_run_that_goes_on_on_another_mesh_ends_within_rounding(tmp_path):
    gentle = {"settings": {"optimizer": {"learning_rate": 1e-4}}}
    assert survive(tmp_path / "straight", ONE | gentle) == [[0]]
    legs = {"signal": TERM, "at": 40} | ONE | gentle, ONE | gentle | {"mesh": {"data": 4, "fsdp": 1, "tensor": 2}}
    assert survive(tmp_path / "moved", *legs) == [[STOPPED], [0]]
    assert apart(tmp_path / "straight", tmp_path / "moved", 60) <= 1e-6


@pytest.mark.slow
def test_a_loader_that_fails_on_one_host_stops_all_at_the_last_checkpoint(tmp_path):
    folder = tmp_path / "dry"
    assert survive(folder, TWO | {"dry": {"process": 1, "batch": 20}}) == [[2, 2]]
    said = folder.with_suffix(".stderr").read_text()
    assert "step 21: the data loader failed (OSError: the disk is gone)" in said
    assert "step 21: another process could not read its rows" in said
    assert max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()) == 18
    assert survive(folder, TWO) == [[0, 0]]
