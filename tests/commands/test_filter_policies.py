"""`toolrm filter policies`: three selections, three policies, one table; begun again where it was; and refused."""

import json

import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import filter_policies
from toolrm_jax.commands.filter_policies import TABLE
from toolrm_jax.train.signals import STOPPED


@pytest.fixture
def command(finished, tiny_model, bfcl_folder, tmp_path):
    """The command line, without a reward model: the hand rule chooses."""
    return [
        "filter",
        "policies",
        f"output={tmp_path / 'out'}",
        f"filter.groups={finished / 'groups'}",
        "filter.keep=3",
        f"train.model.path={tiny_model}",
        "train.model.remat=none",
        "train.model.compute_dtype=float32",
        f"train.data.held_out={finished / 'groups' / 'held_out'}",
        "train.data.row_length=1024",
        "train.data.rows=1",
        "train.data.epochs=20",
        "train.accumulate=1",
        "train.steps=2",
        f"answers.sources=bfcl/simple_python={bfcl_folder}",
        "answers.contexts=4",
        "answers.sampling.max_tokens=6",
        "export_dtype=float32",
    ]


@pytest.mark.slow
def test_every_selection_trains_a_policy_and_nothing_finished_is_done_again(command, tmp_path, capsys, monkeypatch):
    assert main(command) == 0
    told = capsys.readouterr().out
    output = tmp_path / "out"
    table = json.loads((output / TABLE).read_text())
    rows = table["policies"]
    assert [row["name"] for row in rows] == ["untrained", "top", "random", "all"]
    assert {row["accuracy"]["n"] for row in rows} == {4}
    assert "trained on" in told
    cards = {
        name: json.loads((output / "policies" / name / "run" / "card.json").read_text()) for name in ("top", "all")
    }
    assert cards["top"]["config"]["data"]["train"] == str(output / "filtered" / "top")
    assert cards["top"]["config"]["task"] == "sft"

    def no_weights(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr("toolrm_jax.models.folder.load_model", no_weights)
    monkeypatch.setattr("toolrm_jax.commands.export.open_run", no_weights)
    (output / TABLE).unlink()
    assert main(command) == 0
    assert json.loads((output / TABLE).read_text()) == table
    assert main([*command, "train.seed=1"]) == 2
    assert "seed=0, now 1" in capsys.readouterr().err


def test_a_training_that_a_signal_stopped_leaves_no_table(command, tmp_path, monkeypatch):
    monkeypatch.setattr(filter_policies, "_answered", lambda *_: True)
    monkeypatch.setattr(filter_policies, "policy_result", lambda *_: None)
    monkeypatch.setattr(filter_policies, "read_groups", lambda _: ())
    monkeypatch.setattr(filter_policies, "train", lambda *_: False)
    assert main(command) == STOPPED
    assert not (tmp_path / "out" / TABLE).exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("train.task=reward", "a policy is trained with task=sft"),
        ("filter.output=x", "this command sets it itself; say output= instead"),
        ("answers.models.0.servers=http://x", "give one entry, without servers"),
    ],
)
def test_what_is_not_its_to_choose_is_one_line(command, tmp_path, fails, word, says):
    assert says in fails(*command, word)
    assert not (tmp_path / "out").exists()
