"""An exported folder is what transformers loads as a sequence classifier, with the same weights and scores."""

import dataclasses
import json

import numpy as np
import pytest

from toolrm_jax.converters.huggingface import export_folder
from toolrm_jax.converters.model_card import CardFacts, Metric, model_card
from toolrm_jax.errors import ModelError, ToolrmError

END, PAD = 2, 0
REWARD = {"mean": 0.25, "std": 1.5, "training_config_hash": "a" * 64, "data_card_hash": "b" * 64}


@dataclasses.dataclass(frozen=True)
class FakeChat:
    end_of_turn: str = "<|im_end|>"
    end_of_turn_id: int = END
    pad_id: int = PAD

    def save(self, folder):
        (folder / "tokenizer.json").write_text("{}")


def tiny_classifier(family="Llama"):
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        num_labels=1,
        pad_token_id=PAD,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3)
    return model


def backbone_config(model):
    return model.config.to_dict() | {
        "architectures": [type(model).__name__.replace("SequenceClassification", "CausalLM")]
    }


def tensors(model):
    return {name: value.float().numpy() for name, value in model.state_dict().items()}


def export(output, model, **changes):
    arguments = {
        "config": backbone_config(model),
        "tensors": tensors(model),
        "chat": FakeChat(),
        "reward": REWARD,
        "card": "# card\n",
        "dtype": "float32",
    }
    return export_folder(output, **(arguments | changes))


def load(folder):
    import torch
    from transformers import AutoModelForSequenceClassification

    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    return model.eval()


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("max_shard_size", [10**9, 20_000], ids=["one file", "shards"])
def test_transformers_loads_the_same_weights_and_gives_the_same_scores(family, max_shard_size, tmp_path):
    import torch

    model = tiny_classifier(family)
    given = iter([*tensors(model).items(), ("lm_head.weight", np.zeros((40, 32), np.float32))])
    folder = export(tmp_path / "out", model, tensors=given, max_shard_size=max_shard_size)
    assert (folder / "model.safetensors.index.json").exists() == (max_shard_size < 10**6)
    files = list(folder.glob("*.safetensors"))
    assert len(files) == 1 if max_shard_size > 10**6 else all(file.stat().st_size < 24_000 for file in files)
    loaded = load(folder)
    assert type(loaded) is type(model)
    assert loaded.config.num_labels == 1
    assert loaded.config.problem_type == "regression"
    assert loaded.config.pad_token_id == PAD
    assert loaded.score.weight.shape == (1, 32)
    assert loaded.score.bias is None
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name

    rows = [[5, 6, 7, 8, END], [9, END], [10, END, 11, 12, 13, 14, END]]
    longest = max(map(len, rows))
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([row])).logits for row in rows])
        for padded, kept in (
            ([row + [PAD] * (longest - len(row)) for row in rows], lambda n: [1] * n + [0] * (longest - n)),
            ([[PAD] * (longest - len(row)) + row for row in rows], lambda n: [0] * (longest - n) + [1] * n),
        ):
            mask = torch.tensor([kept(len(row)) for row in rows])
            batch = {"input_ids": torch.tensor(padded), "attention_mask": mask}
            scores = loaded(**batch).logits
            assert torch.equal(scores, model(**batch).logits)
            torch.testing.assert_close(scores, alone, rtol=1e-5, atol=1e-6)
    assert alone.std() > 0.01


def test_weights_are_written_in_the_dtype_asked_for(tmp_path):
    import torch
    from safetensors.torch import load_file

    model = tiny_classifier()
    stored = load_file(export(tmp_path / "out", model, dtype="bfloat16") / "model.safetensors")
    assert {name: value.dtype for name, value in stored.items()} == dict.fromkeys(stored, torch.bfloat16)
    for name, value in model.state_dict().items():
        assert torch.equal(stored[name], value.bfloat16()), name


def test_the_folder_says_where_and_how_to_read_the_score(tmp_path):
    folder = export(tmp_path / "out", tiny_classifier())
    assert json.loads((folder / "toolrm.json").read_text()) == {
        "format_version": 1,
        "score_position": "end_of_turn",
        "end_of_turn_token": "<|im_end|>",
        "end_of_turn_id": END,
        "reward": REWARD,
    }
    assert (folder / "README.md").read_text() == "# card\n"
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForSequenceClassification"]
    assert {"tokenizer.json", "card.json", "model.safetensors"} <= {file.name for file in folder.iterdir()}


def test_what_cannot_be_exported_leaves_nothing_behind(tmp_path):
    model = tiny_classifier()
    good = tensors(model)
    headless = {name: value for name, value in good.items() if name != "score.weight"}
    cases = [
        ({"tensors": headless}, "score.weight is missing"),
        ({"tensors": good | {"score.weight": np.zeros((2, 32), np.float32)}}, r"score.weight has shape \(2, 32\)"),
        ({"tensors": good | {"model.norm.weight": np.full(32, np.nan, np.float32)}}, "model.norm.weight holds values"),
        ({"tensors": [*good.items(), *good.items()]}, "is given twice"),
        ({"chat": FakeChat(pad_id=END)}, "pad token is the end-of-turn token"),
        ({"reward": {"mean": 0.0}}, "reward facts"),
    ]
    for changes, says in cases:
        with pytest.raises(ModelError, match=says) as caught:
            export(tmp_path / "out", model, **changes)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_overwriting_is_asked_for(tmp_path):
    model = tiny_classifier()
    export(tmp_path / "out", model)
    with pytest.raises(ToolrmError, match="overwrite"):
        export(tmp_path / "out", model, card="second")
    assert (tmp_path / "out" / "README.md").read_text() == "# card\n"
    export(tmp_path / "out", model, card="second", overwrite=True)
    assert (tmp_path / "out" / "README.md").read_text() == "second"


def test_the_model_card_states_results_licences_and_what_was_tried():
    facts = CardFacts(
        name="tiny-rm",
        backbone="owner/tiny",
        backbone_licence="Apache-2.0",
        data="12 groups of made mistakes.",
        data_licences={"apache-2.0": 12},
        training={"learning rate": "1e-4"},
        metrics=[Metric("held-out", "this model", 81.04, 78.0, 84.0, 250), Metric("held-out", "a|b", 50, 45, 55, 250)],
        limits=["Only made mistakes were judged."],
    )
    card = model_card(facts, "<|im_end|>")
    assert card.startswith('---\nlicense: "apache-2.0"\nbase_model: "owner/tiny"\n')
    assert "| held-out | this model | 81.0 | 78.0 to 84.0 | 250 |" in card
    assert "| held-out | a\\|b | 50.0 |" in card
    assert "| apache-2.0 | 12 |" in card
    assert "`<|im_end|>`" in card
    assert "* Only made mistakes were judged." in card
    assert "### transformers (tried" in card
    assert "### SGLang (untried)" in card
    assert "### vLLM (untried)" in card
    assert "## Limits" not in model_card(dataclasses.replace(facts, limits=()), "<|im_end|>")
