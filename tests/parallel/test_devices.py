"""Training on eight devices, whatever the mesh, is training on one. Run apart, since JAX fixes its devices once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("eight_devices.py")
QUICK = ("data 2, fsdp 4", "fsdp 2, tensor 2, context 2", "fsdp 2, context 4", "fsdp 2, expert 4")


def told(*cases: str) -> dict:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *cases]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def quick() -> dict:
    return told(*QUICK, "restored")


def check(case: dict) -> None:
    one, many = case["loss"]
    assert one > 0.5
    assert abs(many - one) <= 1e-5 * one
    assert case["far"] <= 1e-5, "each gradient, relative to its norm on one device"
    assert case["kept"], "the state lies after the step as it lay before"


@pytest.mark.parametrize("name", QUICK)
def test_loss_and_gradients_equal_those_of_one_device(quick, name):
    check(quick["cases"][name])


@pytest.mark.slow
def test_loss_and_gradients_equal_those_of_one_device_on_every_mesh():
    cases = told()["cases"]
    assert len(cases) == 11
    for case in cases.values():
        check(case)


@pytest.mark.parametrize("name", QUICK)
def test_the_optimiser_is_cut_as_the_weights_are(quick, name):
    """Two moments per weight, and three counters: an unsharded moment (flax issue 5110) would be many times that."""
    case = quick["cases"][name]
    params, optimizer = case["bytes"]
    assert 2 * params <= optimizer <= 2 * params + 16
    assert params < case["whole_bytes"] / 3.5


def test_a_checkpoint_of_one_mesh_goes_on_on_another(quick):
    found = quick["restored"]
    assert found["lies"], "every array lies as the new mesh wants it, moments too"
    assert (found["position"], found["step"]) == ({"at": 2}, 3)
    assert found["read"] == pytest.approx(found["saved"], rel=1e-5)
    assert found["far"] < 1e-6
