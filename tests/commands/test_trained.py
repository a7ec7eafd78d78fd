"""Opening a run's checkpoints to score with: the newest, one by name, and what is said of a damaged one."""

import shutil

import pytest

from toolrm_jax.commands.trained import open_reward_model
from toolrm_jax.errors import ModelError


def test_a_checkpoint_may_be_named_and_is_the_newest_where_it_is_the_only_one(finished):
    run = finished / "run"
    by_run, by_step = open_reward_model(run), open_reward_model(run / "checkpoints" / "5")
    assert by_run.identity == by_step.identity


def test_where_the_only_checkpoint_is_damaged_nothing_is_scored_and_nothing_changed(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    for file in (run / "checkpoints" / "5" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    before = sorted(run.rglob("*"))
    with pytest.raises(ModelError, match="all 1 checkpoints are damaged"):
        open_reward_model(run)
    assert "5: damaged (" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before
