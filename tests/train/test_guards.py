"""What stops a run, and what it says: never silently wrong, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.train.test_loop import config, groups, model
from toolrm_jax.commands.settings import settings_of
from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.train import loop
from toolrm_jax.train.config import MAY_CHANGE, DataConfig, TrainConfig, run_mesh
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.optimizer import OptimizerConfig
from toolrm_jax.train.profiling import Profile, ProfileConfig
from toolrm_jax.train.recorder import NotFinite
from toolrm_jax.train.watch import Watch


def test_a_step_that_is_not_finite_is_named_with_its_groups_and_the_checkpoint_before_it_stays(tmp_path):
    poison = 31
    clean = [group for group in groups(90) if not any(poison in answer for answer in group.responses)]
    answers = (np.array([5, 2]), np.array([poison, 2]))
    made = [*clean, TokenGroup("poisoned", "made", np.array([3]), answers, (True, False), ("", "x"))]
    asked = config(tmp_path, save_every=1, loss=LossWeights())
    step = next(
        n // 2 + 1 for n, row in enumerate(RowSource(made, 64, 24, 2, 2, asked.seed).plan) if len(made) - 1 in row
    )
    broken = model()
    broken.trunk.embedding[...] = broken.trunk.embedding[...].at[poison].set(np.nan)
    kept = rf"the checkpoint of step {step - 1} is kept: `toolrm export` it" if step > 1 else "there is no checkpoint"
    with pytest.raises(NotFinite, match=rf"step {step}: loss nan.* on groups .*; {kept}"):
        train(asked, broken, made, clean[:5])
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert max(steps, default=0) == step - 1
    assert [record["step"] for record in read_metrics(tmp_path) if record["kind"] == "train"] == list(range(1, step))


def test_a_loader_that_runs_dry_is_told_of_with_the_step(tmp_path, monkeypatch):
    whole = loop.batches
    monkeypatch.setattr(loop, "batches", lambda *given: islice(whole(*given), 3))
    with pytest.raises(DataError, match=r"step 4: the data loader ran dry before the last step; nothing of"):
        train(config(tmp_path), model(), groups(60), groups(2))


def test_a_loader_that_fails_is_told_of_with_the_step(tmp_path, monkeypatch):
    read = RowSource.__getitem__

    def fails(source, index):
        if index >= 6:
            raise OSError("the disk is gone")
        return read(source, index)

    monkeypatch.setattr(RowSource, "__getitem__", fails)
    with pytest.raises(DataError, match=r"step 4: the data loader failed \(OSError: the disk is gone\); nothing of"):
        train(config(tmp_path), model(), groups(60), groups(2))


def test_numbers_move_to_the_devices_only_where_the_code_says_so(tmp_path, monkeypatch):
    placed = loop.spread
    calls = []

    def forgotten(mesh, batch):
        calls.append(None)
        return placed(mesh, batch) if len(calls) == 1 else batch  # the first is for the compiler

    monkeypatch.setattr(loop, "spread", forgotten)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(config(tmp_path), model(), groups(60), groups(10))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accumulate": 3}, "accumulate=3: data.rows=2 do not divide into so many parts"),
        ({"accumulate": 0}, "accumulate=0: expected a positive whole number"),
        ({"save_every": 0}, "save_every=0: expected a positive"),
        ({"steps": 0}, "steps=0: expected a positive"),
        ({"keep_every": -1}, "keep_every=-1: expected a positive"),
        ({"loss": LossWeights(label_smoothing=0.5)}, "loss.label_smoothing=0.5: expected a share"),
        ({"loss": LossWeights(kway="softmax", label_smoothing=0.1)}, "loss.kway=softmax knows no label_smoothing"),
        ({"loss": LossWeights(centring=-1.0)}, "loss.centring=-1.0: expected 0 or more"),
        ({"loss": LossWeights(token_error=float("nan"))}, "loss.token_error=nan: expected 0 or more"),
        ({"data": DataConfig(train="", held_out="", held_out_groups=0)}, "data.held_out_groups=0: expected a positive"),
        ({"stall_after": -1.0}, "stall_after=-1.0: expected seconds, or 0 for never"),
        ({"head_fit": HeadFit(steps=2, ridge=0.0)}, "head_fit.ridge=0.0: expected more than 0"),
        ({"head_fit": HeadFit(steps=-1)}, "head_fit.steps=-1: expected 0 or more"),
        *(
            ({"optimizer": OptimizerConfig(**{name: value})}, f"optimizer.{name}={value}: expected")
            for name, values in {
                "learning_rate": (0.0, -1e-4, float("nan"), float("inf")),
                "head_multiplier": (-1.0,),
                "warmup": (100.0, 1.0, -0.1),
                "final": (1.5, -0.1),
                "beta1": (1.0, -0.1),
                "beta2": (1.0,),
                "weight_decay": (-0.1,),
                "clip": (0.0, -1.0, float("nan")),
                "ema": (1.0, -0.1),
            }.items()
            for value in values
        ),
        ({"profile": ProfileConfig(steps="9")}, "profile.steps=9: expected FIRST:LAST"),
        ({"profile": ProfileConfig(steps="9:8")}, "profile.steps=9:8: expected FIRST:LAST"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_compiled(tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        run_mesh(config(tmp_path, **changes))


def test_tokens_of_another_tokenizer_are_refused(tmp_path):
    foreign = TokenGroup("foreign", "made", np.array([3, 32]), (np.array([4]), np.array([5])), (True, False), ("", ""))
    with pytest.raises(DataError, match=r"group foreign: has token 32, the model knows 32; .* another tokenizer"):
        train(config(tmp_path), model(), [*groups(20), foreign], groups(5))


def test_what_stands_still_is_told_of_with_what_it_waits_for_and_what_moves_is_not():
    said: list[str] = []
    with Watch(0.2, said.append) as watch:
        for _ in range(6):
            with watch.at("the devices", 3):
                time.sleep(0.06)
        assert said == []
        with watch.at("the data loader", 4):
            time.sleep(0.5)
    assert said
    assert "process 0 of 1: step 4 has stood still for 0 s; it waits for the data loader" in said[0]


def test_stalls_are_not_looked_for_where_that_is_turned_off():
    with Watch(0.0, pytest.fail) as watch, watch.at("the devices", 3):
        assert not watch.thread.is_alive()


def test_a_device_out_of_memory_is_told_of_with_what_a_run_that_has_begun_may_change(tmp_path, monkeypatch):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")

    monkeypatch.setattr(loop, "spread", full)
    says = r"the run does not fit the devices' memory; raise accumulate, set model\.remat=full, or divide .*mesh\.fsdp"
    with pytest.raises(ModelError, match=says):
        train(config(tmp_path), model(), groups(60), groups(2))
    assert {"accumulate", "model.remat", "mesh"} <= set(MAY_CHANGE), "and these it may"


@pytest.fixture
def traces(monkeypatch):
    """What is asked of JAX's profiler, which is not started."""
    asked: list[str] = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda _: asked.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: asked.append("stop"))
    monkeypatch.setattr("toolrm_jax.train.profiling.find_spec", lambda _: None)
    return asked


@pytest.mark.parametrize(
    ("start", "steps", "told"),
    [(0, 20, (10, 13)), (0, 12, (10, 12)), (11, 20, (12, 13)), (9, 20, (10, 13))],
    ids=["whole", "the run ends before", "gone on within", "gone on before"],
)
def test_a_trace_begins_and_ends_with_the_steps_that_there_are(tmp_path, traces, start, steps, told):
    profile, said = Profile(ProfileConfig(steps="10:13"), tmp_path, steps), []
    assert bool(profile.missed(start)) == (start == 11)
    for step in range(start + 1, steps + 1):
        profile.before(step)
        said.append(profile.after(step, None))
    said.append(profile.stop())
    assert traces == ["start", "stop"]
    assert [line for line in said if line] == [
        f"trace of steps {told[0]} to {told[1]}: tensorboard --logdir {tmp_path / 'profile'}"
    ]


def test_a_trace_of_steps_that_are_done_or_never_come_is_told_of(tmp_path, traces):
    asked = ProfileConfig(steps="10:13")
    said = Profile(asked, tmp_path, 20).missed(13)
    assert said == ["profile.steps=10:13: step 13 is done already; traced is nothing"]
    with pytest.raises(ConfigError, match=r"profile\.steps=10:13: the run has 9 steps"):
        Profile(asked, tmp_path, 9)
    assert traces == []


def test_a_run_that_fails_while_it_is_traced_leaves_its_trace(tmp_path, traces, monkeypatch):
    whole = loop.batches
    monkeypatch.setattr(loop, "batches", lambda *given: islice(whole(*given), 3))
    with pytest.raises(DataError, match="ran dry"):
        train(config(tmp_path, profile=ProfileConfig(steps="2:9")), model(), groups(60), groups(2))
    assert traces == ["start", "stop"]


TRACED = """
import sys
from pathlib import Path
from tests.train.test_loop import config, groups, model
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.profiling import ProfileConfig
asked = config(Path(sys.argv[1]), steps=4, profile=ProfileConfig(steps="2:3"), loss=LossWeights())
assert train(asked, model(), groups(60), groups(5))
"""


def test_a_trace_of_the_steps_asked_for_is_written(tmp_path):
    """In a process of its own, on the CPU alone: JAX's profiler crashes there once the TPU's compiler is loaded."""
    root, alone = Path(__file__).parents[2], os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", TRACED, tmp_path], cwd=root, env=alone, check=True, timeout=300)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_each_step_says_what_it_was_made_of_and_how_fast_it_was(tmp_path):
    train(config(tmp_path, steps=2, evaluate_every=1, loss=LossWeights()), model(), groups(60), groups(30))
    records = read_metrics(tmp_path)
    step = next(record for record in records if record["kind"] == "train")
    assert {"loss", "ranking", "correct", "margin", "right_score", "right_score_std", "wrong_score_std"} <= step.keys()
    assert {"gradient_norm", "learning_rate", "groups", "pairs", "tokens", "padding"} <= step.keys()
    assert step["pairs"] == 2 * step["groups"]
    assert step["padding"] == 1 - step["tokens"] / 128
    judged = [record for record in records if record["kind"] == "held_out"][-1]
    assert judged["correct/error/x"] == judged["correct/source/made"] == pytest.approx(judged["correct"], abs=1e-6)
    speed = read_metrics(tmp_path, "speed.jsonl")[0]
    assert speed["tokens_per_second"] == pytest.approx(step["tokens"] / speed["seconds"])
    assert {"pairs_per_second", "data_wait", "memory_gib"} <= speed.keys()
    assert "mfu" not in speed, "the peak of a CPU is not known"


def test_what_may_change_of_a_run_that_has_begun_are_settings_and_none_of_what_it_learns_from():
    names = {setting.name for setting in settings_of(TrainConfig)}
    assert all(any(name == one or name.startswith(f"{one}.") for name in names) for one in MAY_CHANGE)
    assert not {name.partition(".")[0] for name in MAY_CHANGE} & {"data", "optimizer", "loss", "seed", "steps"}
