"""The loop as a whole: it learns, resumes exactly, stops cleanly, and refuses what it cannot go on from."""

from __future__ import annotations

import gc
import json
import os
import signal
import weakref
from contextlib import ExitStack

import chz
import jax
import numpy as np
import pytest
from flax import nnx

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError, ModelError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.train import loop
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.optimizer import OptimizerConfig
from toolrm_jax.train.recorder import NotFinite
from toolrm_jax.train.run_folder import saved_steps
from toolrm_jax.train.startup import Startup

SHAPE = TrunkConfig("qwen3", 32, 16, 24, 2, 2, 1, 8, 1e4, 1e-6, 128, True)


def groups(count: int) -> list[TokenGroup]:
    """Right answers say a low token, wrong ones a high one."""
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        context = np.array([3])
        answers = (random.integers(4, 18), *random.choice(np.arange(18, 32), 2, replace=False))
        tokens = tuple(np.array([token, 2]) for token in answers)
        made.append(TokenGroup(f"g{number}", "made", context, tokens, (True, False, False), ("", "x", "x")))
    return made


def config(folder, **changes) -> TrainConfig:
    data = DataConfig(train="", held_out="", row_length=64, slots=24, rows=2, epochs=2, held_out_groups=20)
    base = TrainConfig(
        output=str(folder),
        model=ModelConfig(path="", compute_dtype="float32", frozen_layers=1),
        data=data,
        optimizer=OptimizerConfig(learning_rate=1e-2, head_multiplier=3.0),
        loss=LossWeights(token_error=0.5, next_token=0.1),
        evaluate_every=8,
        save_every=5,
    )
    return chz.replace(base, **changes)


def model(shape: TrunkConfig = SHAPE) -> RewardModel:
    return RewardModel(shape, frozen_layers=1, rngs=nnx.Rngs(7))


def weights(trained: RewardModel) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.split(trained)[1])]


def kept(folder) -> str:
    return (folder / "metrics.jsonl").read_text()


def test_it_learns_and_leaves_frozen_weights_alone(tmp_path):
    before, after = model(), model()
    assert train(
        config(tmp_path, data=chz.replace(config(tmp_path).data, epochs=12)), after, groups(60), groups(80)[60:]
    )
    held_out = [record["correct"] for record in read_metrics(tmp_path) if record["kind"] == "held_out"]
    assert held_out[0] < 0.75 < 0.9 < held_out[-1]
    unchanged = {"embedding", "lm_head"}
    for path, leaf in nnx.split(after)[1].flat_state():
        frozen = path[:3] == ("trunk", "stacks", 0) or path[-1] in unchanged
        same = np.array_equal(leaf.get_value(), dict(nnx.split(before)[1].flat_state())[path].get_value())
        assert same == frozen, path


def test_a_run_stopped_by_a_signal_and_resumed_equals_one_never_stopped(tmp_path, monkeypatch):
    whole, parts = model(), model()
    assert train(config(tmp_path / "whole"), whole, groups(60), groups(10))
    original, calls = loop.StepRecorder.record, []

    def interrupted(self, step, metrics, waited):
        original(self, step, metrics, waited)
        calls.append(step)
        if step == 7 and calls.count(7) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StepRecorder, "record", interrupted)
    assert train(config(tmp_path / "parts"), parts, groups(60), groups(10)) is False
    assert max(calls) in (7, 8), "it stops at the step during which it was asked"
    assert train(config(tmp_path / "parts"), model(), groups(60), groups(10))
    resumed = model()
    assert train(config(tmp_path / "parts"), resumed, groups(60), groups(10)), "a finished run only loads its end"
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert kept(tmp_path / "whole") == kept(tmp_path / "parts")


class Killed(BaseException):
    """Ends a run at once, as a kill would."""


def test_a_run_stopped_at_a_judgement_and_then_killed_has_that_judgement_once(tmp_path, monkeypatch):
    """Stopped at a step after which the held-out groups are judged, it is judged by the next start, which dies."""
    asked = {"evaluate_every": 1, "save_every": 100, "loss": LossWeights()}
    assert train(config(tmp_path / "whole", **asked), model(), groups(60), groups(10))
    original, calls = loop.StepRecorder.record, []

    def interrupted(self, step, metrics, waited):
        original(self, step, metrics, waited)
        calls.append(step)
        if step == 3 and calls.count(3) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == 6 and calls.count(6) == 1:
            raise Killed

    monkeypatch.setattr(loop.StepRecorder, "record", interrupted)
    parts = config(tmp_path / "parts", **asked)
    assert train(parts, model(), groups(60), groups(10)) is False
    stopped = max(calls)
    with pytest.raises(Killed):
        train(parts, model(), groups(60), groups(10))
    assert f'"held_out", "step": {stopped}' in kept(tmp_path / "parts")
    assert saved_steps(tmp_path / "parts") == [stopped]
    assert train(parts, model(), groups(60), groups(10))
    assert kept(tmp_path / "whole") == kept(tmp_path / "parts")


def test_a_run_goes_on_in_parts_and_with_other_remat_and_gives_the_same_losses(tmp_path, monkeypatch):
    """What memory makes one change when a run has begun."""
    assert train(config(tmp_path / "whole"), model(), groups(60), groups(10))
    original = loop.StepRecorder.record

    def stopped(self, step, metrics, waited):
        original(self, step, metrics, waited)
        if step == 3 and self.log.folder.name == "parts" and not saved_steps(tmp_path / "parts"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StepRecorder, "record", stopped)
    parts = config(tmp_path / "parts")
    assert train(parts, model(), groups(60), groups(10)) is False
    parts = chz.replace(parts, accumulate=2, model=chz.replace(parts.model, remat="full"))
    assert train(parts, model(), groups(60), groups(10))
    there, here = ([r for r in read_metrics(tmp_path / side) if r["kind"] == "train"] for side in ("whole", "parts"))
    assert [record["step"] for record in there] == [record["step"] for record in here]
    assert [record["loss"] for record in here] == pytest.approx([record["loss"] for record in there], abs=1e-5)


def test_a_run_that_goes_on_holds_its_weights_once(tmp_path):
    """What the model came with is not kept beside what was restored."""
    assert train(config(tmp_path, steps=2), model(), groups(60), groups(10))
    again = model()
    before = [weakref.ref(leaf) for leaf in jax.tree.leaves(nnx.split(again)[1])]
    run = None
    with ExitStack() as stack:
        asked = config(tmp_path, steps=2)
        run = loop._Run(asked, again, groups(60), groups(10), Startup(), stack, overwrite=False)
        gc.collect()
        assert run.start == 2
        assert [ref() for ref in before] == [None] * len(before)


def test_with_all_checkpoints_damaged_a_run_begins_anew_only_where_told_to(tmp_path):
    asked = config(tmp_path, steps=2, loss=LossWeights())
    assert train(asked, model(), groups(60), groups(10))
    first = kept(tmp_path)
    for file in (tmp_path / "checkpoints" / "2" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(
        ModelError, match="all 1 checkpoints are damaged; put back a copy, or train anew with overwrite"
    ):
        train(asked, model(), groups(60), groups(10))
    assert train(asked, model(), groups(60), groups(10), overwrite=True)
    assert kept(tmp_path) == first
    assert (tmp_path / "damaged" / "2").is_dir()


def test_a_loss_that_is_not_finite_names_the_step_and_its_groups_and_what_can_be_done(tmp_path):
    broken = model()
    broken.score[...] = broken.score[...] + np.nan
    with pytest.raises(NotFinite, match=r"step 1: loss nan.* on groups g\d+.*; there is no checkpoint yet: start the"):
        train(config(tmp_path), broken, groups(20), groups(10))


def test_a_checkpoint_of_another_shape_is_refused_in_one_line(tmp_path):
    train(config(tmp_path, steps=2), model(), groups(60), groups(10))
    other = TrunkConfig("qwen3", 32, 16, 40, 2, 2, 1, 8, 1e4, 1e-6, 128, True)
    with pytest.raises(ModelError, match="not a checkpoint of this model") as error:
        train(config(tmp_path, steps=3), model(other), groups(60), groups(10))
    assert "\n" not in str(error.value)


def test_more_steps_than_the_epochs_give_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"steps=999, but 2 epoch\(s\) give only"):
        train(config(tmp_path, steps=999), model(), groups(20), groups(10))


def test_groups_that_fit_no_row_are_told_of_on_both_sides(tmp_path, capsys):
    long = TokenGroup("long", "made", np.full(64, 3), groups(1)[0].responses, (True, False, False), ("", "x", "x"))
    train(config(tmp_path, steps=1), model(), [*groups(20), long], [*groups(9), long])
    said = capsys.readouterr().err
    assert "1 of 21 groups left out: of more tokens or answers than a row has" in said
    assert "1 of 10 held-out groups left out: of more tokens or answers than a row has" in said
    with pytest.raises(DataError, match=r"^data\.held_out: none of 1 groups fits a row of 64 tokens"):
        train(config(tmp_path / "none", steps=1), model(), groups(20), [long])


def test_records_are_valid_json_and_one_per_step(tmp_path):
    train(config(tmp_path, loss=LossWeights()), model(), groups(60), groups(10))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    steps = [record["step"] for record in records if record["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1))


def test_held_out_accuracy_is_of_a_sample_that_does_not_go_by_the_groups_order(tmp_path):
    first = chz.replace(config(tmp_path).data, held_out_groups=10)
    there, back = groups(40)[20:], groups(40)[20:][::-1]
    for folder, held_out in (("there", there), ("back", back)):
        train(config(tmp_path / folder, steps=1, data=first), model(), groups(20), held_out)
    found = [read_metrics(tmp_path / folder)[0] for folder in ("there", "back")]
    assert found[0] == found[1]
    assert found[0]["kind"] == "held_out"
