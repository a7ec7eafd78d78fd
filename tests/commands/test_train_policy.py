"""`toolrm train task=sft` with adapters, to a policy that transformers loads."""

from __future__ import annotations

import numpy as np
import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands.trained import open_reward_model, open_run
from toolrm_jax.errors import ModelError


@pytest.fixture(scope="module")
def policy(finished, tiny_model, tmp_path_factory):
    """The run of a policy: four steps on the references of the quickstart's groups, adapters on top of the layers."""
    run = tmp_path_factory.mktemp("policy") / "run"
    sides = [f"data.{side}={finished / 'groups' / side}" for side in ("train", "held_out")]
    settings = ["model.lora.rank=2", "model.compute_dtype=float32", "optimizer.learning_rate=0.01"]
    settings += ["data.row_length=512", "data.rows=1", "data.epochs=20", "data.held_out_groups=2", "steps=4"]
    assert main(["train", "task=sft", f"output={run}", f"model.path={tiny_model}", *sides, *settings]) == 0
    return run


def test_its_export_is_a_causal_language_model_with_the_adapters_merged(policy, tiny_model, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from toolrm_jax.data.store import read_tokens
    from toolrm_jax.evals.scoring import log_likelihood

    output = tmp_path / "exported"
    assert main(["export", f"checkpoint={policy}", f"output={output}", "dtype=float32"]) == 0
    assert f"exported policy: {output} (step 4, float32)" in capsys.readouterr().out
    exported, before = (AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (output, tiny_model))
    group = read_tokens(policy / "tokens" / "held_out")[0]
    assert len(group.responses) == 1
    ids = torch.tensor(np.concatenate([group.context, group.responses[0]])[None].astype(np.int64))
    labels = ids.clone()
    labels[0, : len(group.context)] = -100
    with torch.no_grad():
        loss, start = (float(model(ids, labels=labels).loss) for model in (exported, before))
    mine = -log_likelihood(open_run(policy)[0].model, [group])[0][0] / len(group.responses[0])
    assert mine == pytest.approx(loss, abs=1e-4)
    assert loss < start - 0.01, "it has learned something"


def test_its_adapters_alone_are_what_peft_loads_beside_the_backbone(policy, tiny_model, tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    words = "export", f"checkpoint={policy}", "dtype=float32"
    assert main([*words, f"output={tmp_path / 'adapters'}", "merge=false"]) == 0
    assert main([*words, f"output={tmp_path / 'merged'}"]) == 0
    beside = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "adapters")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        one, other = (model.eval()(ids).logits.numpy() for model in (beside, merged))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_it_gives_no_scores_and_no_reward_model_and_a_run_without_adapters_none(policy, finished, fails, tmp_path):
    export = "export", f"checkpoint={policy}", f"output={tmp_path / 'out'}", "task=reward"
    assert "a run of task=sft has no scalar head; export task=policy" in fails(*export)
    plain = "export", f"checkpoint={finished / 'run'}", f"output={tmp_path / 'none'}", "merge=false"
    assert "no adapter is given" in fails(*plain)
    for named in (policy, policy / "checkpoints" / "4"):
        with pytest.raises(ModelError, match="a run of task=sft, so its model gives no scores"):
            open_reward_model(named)
    assert list(tmp_path.iterdir()) == []
