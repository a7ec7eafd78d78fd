"""An exported folder is what transformers loads as a sequence classifier, with the same weights and scores."""

import dataclasses
import json

import numpy as np
import pytest

from toolrm_jax.converters.huggingface import export_folder
from toolrm_jax.converters.licence import Licence, read_licence
from toolrm_jax.converters.model_card import CardFacts, Metric, model_card
from toolrm_jax.converters.safetensors_file import PendingTensor
from toolrm_jax.errors import ToolrmError

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


def pending(values):
    return [PendingTensor(name, value.shape, lambda value=value: value) for name, value in dict(values).items()]


def export(output, model, **changes):
    arguments = {
        "config": backbone_config(model),
        "tensors": pending(tensors(model)),
        "chat": FakeChat(),
        "facts": REWARD,
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
    folder = export(tmp_path / "out", model, max_shard_size=max_shard_size)
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
            # Equal weights at other addresses: kernels may add in another order.
            torch.testing.assert_close(scores, model(**batch).logits, rtol=1e-6, atol=1e-6)
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
    wide = {"score.weight": np.zeros((2, 32), np.float32)}
    nan = {"model.norm.weight": np.full(32, np.nan, np.float32)}
    cases = [
        ({"tensors": pending(headless)}, "tensor score.weight is missing"),
        ({"tensors": pending(good | wide)}, r"tensor score.weight has shape \(2, 32\), expected \(1, 32\)"),
        ({"tensors": pending(good | {"lm_head.weight": good["score.weight"]})}, "tensor lm_head.weight is not one of"),
        ({"tensors": pending(good | nan)}, "tensor model.norm.weight holds values that are not finite in float32"),
        ({"tensors": pending(good) * 2}, "is given twice"),
        ({"chat": FakeChat(pad_id=END)}, "pad token is the end-of-turn token"),
        ({"facts": {"mean": 0.0}}, "reward facts"),
        ({"dtype": "int8"}, "dtype 'int8' is not known"),
    ]
    for changes, says in cases:
        with pytest.raises(ToolrmError, match=says) as caught:
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
        backbone="tiny",
        base_model="owner/tiny",
        backbone_licence=Licence("other", "tiny-research", "https://there/LICENSE"),
        data="12 groups of made mistakes.",
        data_licences={"apache-2.0": 12},
        training={"learning rate": "1e-4"},
        metrics=[Metric("held-out", "this model", 81.04, 78.0, 84.0, 250), Metric("held-out", "a|b", 50, 45, 55, 250)],
        limits=["Only made mistakes were judged."],
    )
    card = model_card(facts, "<|im_end|>")
    assert card.startswith(
        '---\nlicense: "other"\nlicense_name: "tiny-research"\nlicense_link: "https://there/LICENSE"\n'
        'base_model: "owner/tiny"\nlibrary_name: "transformers"\n'
    )
    assert "The backbone's licence is [tiny-research](https://there/LICENSE)" in card
    assert read_licence(card) == facts.backbone_licence
    assert "base_model" not in model_card(dataclasses.replace(facts, base_model=""), "<|im_end|>")
    assert "| held-out | this model | 81.0 | 78.0 to 84.0 | 250 |" in card
    assert "| held-out | a\\|b | 50.0 |" in card
    assert "| apache-2.0 | 12 |" in card
    assert "`<|im_end|>`" in card
    assert "* Only made mistakes were judged." in card
    assert "### transformers (tried" in card
    assert "### SGLang (untried)" in card
    assert "### vLLM (untried)" in card
    assert "### TEI (untried)" in card
    policy = model_card(dataclasses.replace(facts, metrics=()), "<|im_end|>", "policy")
    assert 'pipeline_tag: "text-generation"' in policy
    assert "## Results" not in policy
    assert "## Where the score is read" not in policy
    assert "## Limits" not in model_card(dataclasses.replace(facts, limits=()), "<|im_end|>")


@pytest.mark.parametrize(("kind", "tied"), [("Qwen2", False), ("Qwen3Moe", False), ("Llama", True)])
def test_a_policy_is_what_transformers_loads_as_a_causal_lm_and_gives_our_logits(kind, tied, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    from tests.models.tiny import make
    from toolrm_jax.converters.huggingface import model_tensors
    from toolrm_jax.models.attention import Visible
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import load_model

    reference = make(kind, tmp_path / "in", "ForCausalLM", tie_word_embeddings=tied)
    model, missing = load_model(tmp_path / "in")
    assert missing == ("score.weight",)
    folder = export_folder(
        tmp_path / "out",
        config=read_config(tmp_path / "in"),
        tensors=model_tensors(model, "policy"),
        chat=FakeChat(),
        facts={"training_config_hash": "a" * 64, "data_card_hash": "b" * 64},
        card="# card\n",
        task="policy",
        dtype="float32",
    )
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    for name, value in reference.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    ids = np.array([[5, 6, 7, 8, 9, END]])
    ones = np.ones_like(ids)
    hidden, _ = model(ids, np.arange(6)[None], Visible.of(ones, 0 * ones))
    with torch.no_grad():
        theirs = loaded.eval()(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(np.asarray(model.logits(hidden)), theirs, rtol=1e-4, atol=1e-4)
    generation = json.loads((folder / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (END, PAD)
    assert set(json.loads((folder / "toolrm.json").read_text())) >= {"policy", "end_of_turn_id"}


def test_a_classifier_whose_head_is_no_embedding_is_no_policy(tmp_path):
    """It has no language-model head: ours would be zeros, and every logit of the export."""
    from tests.converters.made_folder import made_weights, small_config, write_folder
    from toolrm_jax.converters.huggingface import model_tensors
    from toolrm_jax.models.folder import load_model

    for tied in (False, True):
        config = small_config("llama", tie_word_embeddings=tied)
        weights = made_weights(config, "reward", "float32")
        model, missing = load_model(write_folder(tmp_path / str(tied), config, weights, task="reward"))
        assert missing == (() if tied else ("lm_head.weight",))
        assert model_tensors(model, "reward")
        if tied:
            assert model_tensors(model, "policy")
        else:
            with pytest.raises(ToolrmError, match=r"lm_head\.weight is all zeros"):
                model_tensors(model, "policy")


@pytest.mark.parametrize("task", ["reward", "policy"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "qwen3_moe"])
@pytest.mark.parametrize("tied", [True, False])
def test_our_declarations_name_the_tensors_that_transformers_asks_for(kind, task, tied):
    pytest.importorskip("torch")
    from tests.converters.made_folder import small_config
    from toolrm_jax.converters.engine_config import engine_config
    from toolrm_jax.converters.expected import expected_shapes, transformers_shapes
    from toolrm_jax.models.config import TrunkConfig

    config = engine_config(small_config(kind, tie_word_embeddings=tied), FakeChat(), "float32", task)
    assert transformers_shapes(config, task) == expected_shapes(TrunkConfig.from_huggingface(config), task)


def test_a_config_at_odds_with_transformers_is_refused(tmp_path, monkeypatch):
    """Where our declarations and transformers part, transformers is right: it is what loads the folder."""
    from toolrm_jax.converters import huggingface

    def other(config, task):
        return {name: (*shape, 1) for name, shape in expected(config, task).items()}

    expected = huggingface.transformers_shapes
    monkeypatch.setattr(huggingface, "transformers_shapes", other)
    with pytest.raises(ToolrmError, match=r"transformers' LlamaForSequenceClassification: tensor .* has shape"):
        export(tmp_path / "out", tiny_classifier())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(1, 1), (64, 256), (65, 257), (130, 600), (200, 3)])
def test_a_matrix_is_transposed_whatever_tiles_it_falls_into(shape):
    from toolrm_jax.converters.huggingface import _transposed

    matrix = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    made = _transposed(matrix)
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, matrix.T)
