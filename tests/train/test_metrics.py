"""The records of a run: what a restart keeps, where they go, and the figures of speed by hand."""

from __future__ import annotations

import json
import struct
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from toolrm_jax.errors import ConfigError, DataError
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


@pytest.mark.parametrize(("judged", "kept"), [(True, ["train", "held_out"]), (False, ["train"])])
def test_a_judgement_of_the_step_gone_on_from_is_kept_only_where_the_checkpoint_counts_on_it(tmp_path, judged, kept):
    with MetricLog(tmp_path, 0, 9) as log:
        log.write("held_out", 0, {"correct": 0.5})
        for kind in ("train", "held_out"):
            log.write(kind, 1, {"loss": 1.0})
    with MetricLog(tmp_path, 1, 9, judged=judged):
        pass
    assert [record["kind"] for record in read_metrics(tmp_path)] == ["held_out", *kept]


def write_to_a_full_disk(folder, which: str) -> None:
    with MetricLog(folder, 0, 9) as log:
        if which == "metrics.jsonl":
            log.files[which] = Path("/dev/full").open("w")  # noqa: SIM115
        else:
            log.board.events._py_recordio_writer._writer = Path("/dev/full").open("wb")  # noqa: SIM115
            log.board.flushed = -1e9
        log.write("train", 1, {"loss": 0.5})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
@pytest.mark.parametrize("which", ["metrics.jsonl", "tensorboard"])
def test_a_disk_that_fills_up_is_told_of_in_one_line(tmp_path, which):
    with pytest.raises(DataError, match=r"record cannot be written \(No space left on device\); free") as error:
        write_to_a_full_disk(tmp_path, which)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_a_file_is_told_of_in_one_line(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError, match="run: the run's record cannot be written"):
        MetricLog(tmp_path / "run", 0, 9)


def points(folder) -> list[tuple[str, int, float]]:
    """What TensorBoard shows: a start at step s takes away what stands from s on in files before it."""
    found: list[tuple[str, int, float]] = []
    for file in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("Q", data[:8])
            event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
            if event.HasField("session_log"):
                found = [point for point in found if point[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def test_tensorboard_shows_each_step_once_after_a_restart(tmp_path, monkeypatch):
    for second, (start, steps) in enumerate([(0, range(1, 4)), (2, range(3, 5)), (0, range(1, 2))]):
        monkeypatch.setattr("tensorboardX.event_file_writer.time.time", lambda at=second: 1.6e9 + at)
        write(tmp_path, start, steps)
        there = [step for tag, step, _ in points(tmp_path) if tag == "train/loss"]
        assert there == list(range(1, steps.stop))


def test_weights_and_biases_gets_the_same_numbers_and_the_same_run_after_a_restart(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(
        define_metric=lambda *names, **rest: calls.append(("define", names, rest)),
        log=lambda values: calls.append(("log", values)),
        finish=lambda exit_code: calls.append(("finish", exit_code)),
    )
    fake = types.SimpleNamespace(init=lambda **settings: calls.append(("init", settings)) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    started = start_wandb("project", tmp_path / "run", {"seed": 0}, 0)
    with MetricLog(tmp_path / "run", 0, 3, started) as log:
        log.write("train", 1, {"loss": 0.5})
    settings = calls[0][1]
    assert (settings["project"], settings["name"], settings["resume"]) == ("project", "run", "allow")
    assert len(settings["id"]) == 16
    for folder, start in ((tmp_path / "run", 3), (tmp_path / "other" / "run", 0), (tmp_path / "run", 0)):
        start_wandb("project", folder, {"seed": 0}, start)
    again, elsewhere, anew = (call[1]["id"] for call in calls if call[0] == "init" and call[1] is not settings)
    assert again == settings["id"]
    assert len({again, elsewhere, anew}) == 3, "two folders of one name are two runs, and so is one begun anew"
    assert ("log", {"train/loss": 0.5, "step": 1}) in calls
    assert ("finish", 0) in calls


def test_without_its_package_weights_and_biases_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"wandb=project: .* not installed; `pip install 'toolrm_jax\[wandb\]'`"):
        start_wandb("project", tmp_path, {}, 0)


def test_utilisation_is_useful_operations_over_the_peak_of_all_devices():
    devices = [Device("NVIDIA H200")] * 2
    found = step_speed(SHAPE, 1, 0, 2.0, 100, 8.0, 700.0, 20.0, devices)
    assert (found["tokens_per_second"], found["pairs_per_second"]) == (50, 4)
    needed = 100 * flops_per_token(SHAPE, 7.0, train=True, frozen_layers=1, predicted=0.2)
    assert found["mfu"] == pytest.approx(needed / 2.0 / (2 * 989e12))
    assert found["memory_gib"] > 0


@pytest.mark.parametrize(
    ("kind", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA B200", 2250e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5e", 197e12),
        ("TPU v5", 459e12),
        ("TPU v5p", 459e12),
        ("TPU v6 lite", 918e12),
    ],
)
def test_peaks_are_found_by_a_part_of_the_name(kind, flops):
    assert peak(Device(kind)) == flops


def test_of_an_unknown_device_or_a_cpu_no_peak_is_claimed():
    assert peak(Device("cpu", "cpu")) is None
    assert peak(Device("Abacus 9000")) is None
    assert peak(Device("NVIDIA L400")) is None


def test_the_time_to_the_first_step_is_told_by_its_parts():
    clock = Startup()
    with clock.part("compiling"):
        pass
    clock.start -= 3.0
    clock.parts["compiling"] += 2.0
    assert clock.line() == "first step after 3.0 s (compiling 2.0, other 1.0)"
