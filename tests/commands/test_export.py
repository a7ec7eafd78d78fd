"""`toolrm export` writes a run's newest checkpoint: as a reward model, or as the policy it also is."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file

from toolrm_jax.cli import main


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
    assert "is there already" in fails("export", run, f"output={finished / 'model'}")
    assert list(tmp_path.iterdir()) == []
