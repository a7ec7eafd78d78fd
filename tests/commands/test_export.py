"""`toolrm export` writes a run's newest checkpoint: as a reward model, or as the policy it also is."""

from __future__ import annotations

import dataclasses
import json

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file

from toolrm_jax.cli import main
from toolrm_jax.commands.card_results import saved_results
from toolrm_jax.converters.model_card import Metric
from toolrm_jax.evals.benchmark import Measure
from toolrm_jax.evals.results import Judged, Result, Suite, save


def weights(folder):
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def test_a_run_is_exported_as_a_reward_model_and_as_a_policy(finished, tmp_path, capsys):
    run, exact = f"checkpoint={finished / 'run'}", weights(finished / "model")
    assert {value.dtype for value in exact.values()} == {np.dtype(np.float32)}
    assert main(["export", run, f"output={tmp_path / 'reward'}", "held_out_groups=2", "max_shard_size=40KB"]) == 0
    assert f"exported reward: {tmp_path / 'reward'} (step 5, bfloat16)" in capsys.readouterr().out
    shards = weights(tmp_path / "reward")
    assert shards.keys() == exact.keys()
    for name, value in exact.items():
        np.testing.assert_array_equal(shards[name], value.astype(ml_dtypes.bfloat16), err_msg=name)
    assert len(list((tmp_path / "reward").glob("*.safetensors"))) == 2

    assert main(["export", run, f"output={tmp_path / 'policy'}", "task=policy", "dtype=float32"]) == 0
    policy = weights(tmp_path / "policy")
    assert policy.keys() == exact.keys() - {"score.weight"}, "the backbone's head is its embedding"
    for name, value in policy.items():
        np.testing.assert_array_equal(value, exact[name], err_msg=name)
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert "A language model that calls tools" in (tmp_path / "policy" / "README.md").read_text()


def test_what_cannot_be_exported_is_said_before_the_checkpoint_is_read(finished, tmp_path, fails):
    run, output = f"checkpoint={finished / 'run'}", f"output={tmp_path / 'out'}"
    assert "is no size" in fails("export", run, output, "max_shard_size=huge")
    assert "dtype 'int8' is not known" in fails("export", run, output, "dtype=int8")
    assert "no run here" in fails("export", f"checkpoint={tmp_path}", output)
    assert "say overwrite=true" in fails("export", run, f"output={finished / 'model'}"), "of another dtype"
    assert "no results" in fails("export", run, output, f"eval={tmp_path}")
    assert "results of a reward model" in fails("export", run, output, f"eval={tmp_path}", "task=policy")
    assert list(tmp_path.iterdir()) == []


def test_results_of_an_evaluation_stand_in_the_card_and_an_export_of_the_same_is_left_as_it_is(
    finished, tmp_path, capsys
):
    run, output = finished / "run", tmp_path / "model"
    judge = ["eval", f"held_out={finished / 'groups' / 'held_out'}", "hand_weight=0"]
    assert main([*judge, f"model={run}", f"output={tmp_path / 'eval'}", "max_groups=4"]) == 0
    words = ["export", f"checkpoint={run}", f"output={output}", "held_out_groups=2", f"eval={tmp_path / 'eval'}"]
    assert main(words) == 0
    card = (output / "README.md").read_text()
    table = [line for line in card.splitlines() if line.startswith("| made mistakes |")]
    results = json.loads((tmp_path / "eval" / "report.json").read_text())["run"]["evaluations"][0]["results"]
    assert [line.split(" | ")[1] for line in table] == [result["judge"] for result in results]
    right = [outcome["right_score"] > outcome["wrong_score"] for outcome in results[0]["outcomes"]]
    assert f"| made mistakes | reward model | {100 * sum(right) / len(right):.1f} |" in card
    assert "* Only mistakes made by rules were judged" in card

    before = (output / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert main(words) == 0
    assert "as it is: made from step 5 before" in capsys.readouterr().out
    assert (output / "model.safetensors").stat().st_mtime_ns == before
    assert main([*judge, f"model={run}", f"output={tmp_path / 'eval'}", "max_groups=2"]) == 0
    assert main(words) == 2
    assert "was made with inputs.results" in capsys.readouterr().err
    assert main([*words, "overwrite=true"]) == 0
    assert (output / "README.md").read_text() != card


def test_results_of_another_model_do_not_stand_in_the_card(finished, tmp_path, fails):
    suite = Suite("x", "toolrm eval", (), {"model": str(tmp_path)})
    for number, (model, taken) in enumerate(
        [(tmp_path, False), (finished / "model", True), (finished / "run" / "checkpoints" / "5", True)]
    ):
        folder = tmp_path / str(number)
        save(dataclasses.replace(suite, config={"model": str(model)}), folder)
        if taken:
            assert saved_results(folder, finished / "run") == ((), ())
        else:
            told = fails("export", f"checkpoint={finished / 'run'}", f"output={tmp_path / 'out'}", f"eval={folder}")
            assert f"{model} was judged there, not {finished / 'run'}" in told


def test_of_a_suite_the_headline_shares_are_taken(tmp_path, finished):
    shares = Measure("accuracy", 0.5, 0.25, 0.75, 8), Measure("best of 4", 0.125, None, None, 8, "many")
    other = Measure("tokens", 3.0, None, None, 8, unit="tokens")
    result = Result(
        "reward model", "pairs", (*shares, other), headline=(("", "accuracy"), ("many", "best of 4"), ("", "tokens"))
    )
    judged = Judged("rotbench", "", True, 8, (result,))
    save(Suite("x", "toolrm eval", (judged,), {"model": str(finished / "run")}), tmp_path)
    assert saved_results(tmp_path, finished / "run")[0] == (
        Metric("rotbench: pairs, accuracy", "reward model", 50.0, 25.0, 75.0, 8),
        Metric("rotbench: pairs, many: best of 4", "reward model", 12.5, None, None, 8),
    )
