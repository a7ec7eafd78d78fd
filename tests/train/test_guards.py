"""What stops a run, and what it says: never silently wrong, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import chz
import numpy as np
import pytest

from tests.train.test_loop import config, groups, model
from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.train import loop
from toolrm_jax.train.config import run_mesh
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.profiling import ProfileConfig
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
    with pytest.raises(NotFinite, match=rf"step {step}: loss nan.* on groups .*; the last checkpoint is kept"):
        train(asked, broken, made, clean[:5])
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert max(steps, default=0) == step - 1
    assert [record["step"] for record in read_metrics(tmp_path) if record["kind"] == "train"] == list(range(1, step))


def test_a_loader_that_fails_or_runs_dry_is_told_of_with_the_step(tmp_path, monkeypatch):
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


def test_a_run_goes_on_with_another_accumulation_but_not_with_other_data_settings():
    from toolrm_jax.train.config import MAY_CHANGE, TrainConfig

    assert set(MAY_CHANGE) < set(chz.chz_fields(TrainConfig))
    assert not {"data", "model", "optimizer", "loss", "seed", "steps", "head_fit"} & set(MAY_CHANGE)
