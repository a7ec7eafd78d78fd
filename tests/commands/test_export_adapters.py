"""Adapters alone are loaded by what their own card says, wherever one stands, and score as the merged model does."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from tests.commands.snippets import ANSWERED, ASKED, run_snippet
from toolrm_jax.cli import main

torch = pytest.importorskip("torch", reason="torch (extra `hf`) runs what is loaded")
peft = pytest.importorskip("peft", reason="peft reads the folder back")


@pytest.fixture(scope="module")
def trained(finished, tiny_model, tmp_path_factory):
    """A run with adapters on a backbone that is named by a relative path, and whose pad token ends a turn."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_model, home / "base-1.5")
    config = json.loads((home / "base-1.5" / "config.json").read_text())
    end = json.loads((finished / "model" / "toolrm.json").read_text())["end_of_turn_id"]
    (home / "base-1.5" / "config.json").write_text(json.dumps(config | {"pad_token_id": end, "eos_token_id": end}))
    (home / "base-1.5" / "README.md").write_text("---\nlicense: other\nlicense_name: lab\n---\n")
    sides = [f"data.{side}={finished / 'groups' / side}" for side in ("train", "held_out")]
    settings = ["model.lora.rank=2", "model.compute_dtype=float32", "optimizer.learning_rate=0.05", "steps=3"]
    settings += ["data.row_length=512", "data.rows=1", "data.epochs=20", "data.held_out_groups=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["train", "output=run", "model.path=base-1.5", *sides, *settings]) == 0
    return home


def export(trained, output, *words):
    assert main(["export", f"checkpoint={trained / 'run'}", f"output={output}", "dtype=float32", *words]) == 0
    return output


def top(folder):
    """The fields between the card's first lines of ---."""
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_cards_snippet_gives_the_merged_models_score_where_the_backbone_pads_with_the_end_of_turn(
    trained, tmp_path
):
    beside = export(trained, tmp_path / "adapters", "merge=false")
    whole = export(trained, tmp_path / "merged", "held_out_groups=2")
    by_card, merged = run_snippet(beside, ANSWERED), run_snippet(whole, ANSWERED)
    assert type(by_card["model"]).__name__ == "PeftModelForSequenceClassification"
    assert by_card["ids"].tolist() == merged["ids"].tolist()
    assert by_card["score"] == pytest.approx(merged["score"], rel=1e-5)
    without = peft.AutoPeftModelForSequenceClassification.from_pretrained(beside, num_labels=1, dtype=torch.float32)
    assert float(without(by_card["ids"]).logits) != pytest.approx(merged["score"], rel=1e-2), "the trap is there"


def test_the_card_is_one_of_adapters_and_names_the_backbones_own_licence(trained, tmp_path):
    beside = export(trained, tmp_path / "adapters", "merge=false")
    base = json.loads((beside / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(trained / "base-1.5")
    card = (beside / "README.md").read_text()
    assert "holds low-rank adapters alone" in card
    for engine in ("SGLang", "vllm serve", "TEI"):
        assert engine not in card
    fields = top(beside)
    assert (fields["library_name"], fields["license"], fields["license_name"]) == ("peft", "other", "lab")
    assert "base_model" not in fields, "a folder on this machine is no model of the hub"
    assert "# base-1.5-tool-reward" in card


def test_without_the_backbone_there_are_no_adapters_but_the_merged_model(trained, tmp_path, fails):
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    record = home / "run" / "model" / "backbone.json"
    record.write_text(record.read_text().replace(str(trained), str(home)))
    shutil.rmtree(home / "base-1.5")
    told = fails("export", f"checkpoint={home / 'run'}", f"output={tmp_path / 'out'}", "merge=false")
    assert f"the backbone is no longer at {home / 'base-1.5'}" in told
    assert not (tmp_path / "out").exists()
    export(home, tmp_path / "merged", "held_out_groups=2")


def test_the_card_of_a_policy_says_what_generates(trained, tmp_path, capsys):
    for words in (["merge=false"], []):
        folder = export(trained, tmp_path / f"policy{len(words)}", "task=policy", *words)
        capsys.readouterr()
        names = run_snippet(folder, ASKED)
        assert names["ids"].shape[0] == 1
        assert capsys.readouterr().out.strip()
