"""The records of a run: what a restart keeps, where they go, and the figures of speed by hand."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass

import pytest

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import flops_per_token
from toolrm_jax.train.metrics import MetricLog, read_metrics, start_wandb
from toolrm_jax.train.speed import peak, step_speed
from toolrm_jax.train.startup import Startup

SHAPE = TrunkConfig("qwen3", 32, 16, 24, 2, 2, 1, 8, 1e4, 1e-6, 128, True)


@dataclass(frozen=True)
class Device:
    device_kind: str
    platform: str = "gpu"


def write(folder, start: int, steps: range) -> None:
    with MetricLog(folder, start, 9) as log:
        for step in steps:
            log.write("train", step, {"loss": step / 2})
            log.write("speed", step, {"seconds": 1.0})
            log.advance(step, {})


@pytest.mark.parametrize(("start", "kept"), [(0, []), (2, [1, 2]), (4, [1, 2, 3, 4])])
def test_a_restart_keeps_the_records_up_to_its_step_and_a_beginning_none(tmp_path, start, kept):
    write(tmp_path, 0, range(1, 5))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # cut off by the kill
    write(tmp_path, start, range(start + 1, start + 1))
    assert [record["step"] for record in read_metrics(tmp_path)] == kept
    assert [record["step"] for record in read_metrics(tmp_path, "speed.jsonl")] == kept
    write(tmp_path, start, range(start + 1, 5))
    assert [record["loss"] for record in read_metrics(tmp_path)] == [0.5, 1.0, 1.5, 2.0]


def test_what_the_clock_says_stands_apart(tmp_path):
    write(tmp_path, 0, range(1, 2))
    assert "seconds" not in (tmp_path / "metrics.jsonl").read_text()
    assert json.loads((tmp_path / "speed.jsonl").read_text()) == {"kind": "speed", "step": 1, "seconds": 1.0}
    assert list((tmp_path / "tensorboard").iterdir())


def test_weights_and_biases_gets_the_same_numbers_and_the_same_run_after_a_restart(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(
        define_metric=lambda *names, **rest: calls.append(("define", names, rest)),
        log=lambda values: calls.append(("log", values)),
        finish=lambda exit_code: calls.append(("finish", exit_code)),
    )
    fake = types.SimpleNamespace(init=lambda **settings: calls.append(("init", settings)) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    started = start_wandb("project", tmp_path / "run", {"seed": 0})
    with MetricLog(tmp_path / "run", 0, 3, started) as log:
        log.write("train", 1, {"loss": 0.5})
    settings = calls[0][1]
    assert (settings["project"], settings["id"], settings["resume"]) == ("project", "run", "allow")
    assert ("log", {"train/loss": 0.5, "step": 1}) in calls
    assert calls[-1] == ("finish", 0)


def test_without_its_package_weights_and_biases_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"wandb=project: .* not installed; `pip install 'toolrm_jax\[wandb\]'`"):
        start_wandb("project", tmp_path, {})


def test_utilisation_is_useful_operations_over_the_peak_of_all_devices():
    devices = [Device("NVIDIA H200")] * 2
    found = step_speed(SHAPE, 1, 0, 2.0, 100, 8.0, 700.0, 20.0, devices)
    assert (found["tokens_per_second"], found["pairs_per_second"]) == (50, 4)
    needed = 100 * flops_per_token(SHAPE, 7.0, train=True, frozen_layers=1, predicted=0.2)
    assert found["mfu"] == pytest.approx(needed / 2.0 / (2 * 989e12))
    assert found["memory_gib"] > 0


@pytest.mark.parametrize(
    ("kind", "flops"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("TPU v5 lite", 197e12), ("TPU v5", 459e12), ("TPU v6 lite", 918e12)],
)
def test_peaks_are_found_by_a_part_of_the_name(kind, flops):
    assert peak(Device(kind)) == flops


def test_of_an_unknown_device_or_a_cpu_no_peak_is_claimed():
    assert peak(Device("cpu", "cpu")) is None
    assert peak(Device("Abacus 9000")) is None


def test_the_time_to_the_first_step_is_told_by_its_parts():
    clock = Startup()
    with clock.part("compiling"):
        pass
    clock.start -= 3.0
    clock.parts["compiling"] += 2.0
    assert clock.line() == "first step after 3.0 s (compiling 2.0, other 1.0)"
