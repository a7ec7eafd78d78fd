"""The quickstart on a tiny backbone: whole, again, interrupted, and refused."""

import json
import os
import shutil
import signal

import pytest

from toolrm_jax.cli import main
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.train.metrics import MetricLog, read_metrics

JUDGES = {"reward model", "random", "shorter", "longer", "schema-valid", "hand rule", "likelihood (sum)"}


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_it_leaves_groups_checkpoints_an_exported_model_and_a_report(finished):
    groups = read_groups(finished / "groups" / "train")
    # `rain` is what the held-out tasks call, so the live question about it does not train.
    assert {call.name for group in groups for call in group.task.reference.calls} == {"wind"}
    assert [record["step"] for record in read_metrics(finished / "run") if record["kind"] == "train"] == [1, 2, 3, 4, 5]

    facts = json.loads((finished / "model" / "toolrm.json").read_text())
    assert facts["reward"]["std"] > 0
    assert len(facts["reward"]["training_config_hash"]) == len(facts["reward"]["data_card_hash"]) == 64
    assert "tiny-llama" in (finished / "model" / "README.md").read_text()

    report = json.loads((finished / "report.json").read_text())
    evaluations = {each["name"]: each for each in report["run"]["evaluations"]}
    assert list(evaluations) == ["pairs, non-live", "made mistakes"]  # the live part was trained on
    assert {result["judge"] for result in evaluations["made mistakes"]["results"]} > JUDGES
    assert len(evaluations["pairs, non-live"]["results"][0]["outcomes"]) == 2
    assert "<html" in (finished / "report.html").read_text()[:500]


def test_started_again_it_does_nothing_twice(finished, words, tmp_path, capsys):
    before = stamps(finished / "run") | stamps(finished / "model") | stamps(finished / "eval")
    assert main([*words, f"output={finished}"]) == 0
    assert stamps(finished / "run") | stamps(finished / "model") | stamps(finished / "eval") == before
    told = capsys.readouterr().out
    assert "The right answer scores above real wrong calls in" in told
    assert told.count("\n  toolrm ") == 3


def test_its_run_knows_the_backbone_as_the_user_called_it_for_a_later_export(finished, words):
    (kept := finished / "run" / "model" / "backbone.json").unlink()
    assert main([*words, f"output={finished}"]) == 0
    assert json.loads(kept.read_text())["title"] == "tiny-llama"


def test_with_other_settings_it_refuses_and_touches_nothing(finished, words, fails):
    before = stamps(finished)
    said = fails(*words, f"output={finished}", "prepare.train.recipe.mistakes=2")
    assert "was begun with prepare.train.recipe.mistakes=3, now 2; say overwrite=true" in said
    assert stamps(finished) == before


def test_interrupted_it_exits_with_75_and_the_same_command_ends_like_an_uninterrupted_one(
    finished, words, tmp_path, monkeypatch
):
    output = tmp_path / "quickstart"
    advance = MetricLog.advance

    def interrupt_at_two(log, step, shown):
        advance(log, step, shown)
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricLog, "advance", interrupt_at_two)
    assert main([*words, f"output={output}"]) == 75
    assert not (output / "run" / "card.json").exists()
    assert not (output / "model").exists()
    monkeypatch.setattr(MetricLog, "advance", advance)
    assert main([*words, f"output={output}"]) == 0
    left, right = (
        [(r["step"], r["loss"]) for r in read_metrics(folder / "run") if r["kind"] == "train"]
        for folder in (finished, output)
    )
    assert left == right


def test_an_interrupt_before_training_leaves_nothing_half_written(words, tmp_path, monkeypatch, capsys):
    from toolrm_jax.commands import prepare

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "make_groups", interrupted)
    assert main([*words, f"output={tmp_path / 'quickstart'}"]) == 130
    assert "goes on" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "quickstart").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("train.output=x", "train.output: the quickstart sets it itself"),
        ("model=/absent", "no such folder"),
        ("model=/absent/model.gguf", "no such file"),
        ("train.model.frozen_layers=9", "9 layers cannot be frozen"),
        ("train.data.row_length=8", "none of 9 groups fits a row of 8 tokens"),
        ("prepare.path=/absent", "/absent: no such file or folder; give the data's place"),
        ("prepare.train.categories=live_multiple", "train.categories: unknown category"),
        ("prepare.train.max_tasks=0", "max_tasks=0: give at least 1"),
        ("pairs=/absent.jsonl", "pairs=/absent.jsonl: no such file"),
    ],
)
def test_what_cannot_work_is_one_line(words, word, says, tmp_path, fails):
    assert says in fails(*words, f"output={tmp_path / 'quickstart'}", word)


def test_a_folder_of_anything_else_is_left_alone(words, tmp_path, fails):
    (tmp_path / "thesis.tex").write_text("dear")
    assert "no stage wrote it" in fails(*words, f"output={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_checkpoint_of_another_shape_is_told(finished, tmp_path, fails):
    copy = tmp_path / "run"
    shutil.copytree(finished / "run", copy)
    config = json.loads((copy / "model" / "config.json").read_text())
    (copy / "model" / "config.json").write_text(json.dumps(config | {"intermediate_size": 56}))
    assert "not a checkpoint of this model" in fails("export", f"checkpoint={copy}", f"output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_run_is_exported_and_evaluated_by_their_own_commands(finished, pairs, tmp_path, capsys):
    output = tmp_path / "model"
    assert main(["export", f"checkpoint={finished / 'run'}", f"output={output}", "dtype=bfloat16"]) == 0
    config = json.loads((output / "config.json").read_text())
    assert (config["architectures"], config["dtype"]) == (["LlamaForSequenceClassification"], "bfloat16")
    assert main(["eval", f"model={output}", f"pairs={pairs}", f"output={tmp_path / 'eval'}"]) == 0
    told = capsys.readouterr().out
    assert "pairs, non-live: 2 pairs" in told
    assert "pairs, live: 1 pairs" in told
    assert (tmp_path / "eval" / "report.html").is_file()
