"""Configs of Hugging Face are read as they are, and what this trunk cannot follow is refused in one line."""

from __future__ import annotations

import json

import pytest

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig, read_config
from toolrm_jax.models.presets import PRESETS, preset

# As published under Qwen/Qwen3-30B-A3B.
PUBLISHED = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def test_a_published_config_is_the_preset():
    assert TrunkConfig.from_huggingface(PUBLISHED) == preset("Qwen3-30B-A3B")


def test_experts_are_read_by_the_name_that_transformers_5_writes():
    renamed = {"num_local_experts" if name == "num_experts" else name: value for name, value in PUBLISHED.items()}
    assert TrunkConfig.from_huggingface(renamed) == preset("Qwen3-30B-A3B")


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "SmolLM2-135M"])
def test_presets_are_what_transformers_makes_of_them(name):
    transformers = pytest.importorskip("transformers")
    config = preset(name)
    fields = {field: getattr(config, field) for field in config.__dataclass_fields__ if field != "rope_scaling"}
    kind = getattr(transformers, f"{config.family.stem}Config")
    parameters = {"rope_type": "default", "rope_theta": fields.pop("rope_theta")}
    assert TrunkConfig.from_huggingface(kind(**fields, rope_parameters=parameters).to_dict()) == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "qwen3_mo"}, "known: llama, qwen2, qwen3, qwen3_moe; the nearest is qwen3_moe"),
        ({"model_type": None}, "model_type None is not supported; known: llama"),
        ({"model_type": ["qwen3"]}, "model_type ['qwen3'] is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported; only 'silu' is"),
        ({"attention_bias": True}, "attention_bias True is not supported; only False is"),
        ({"use_sliding_window": True}, "use_sliding_window True is not supported"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer type 'sliding_attention' is not supported"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step 2 is not supported; only 1 is"),
        ({"mlp_only_layers": [0]}, "mlp_only_layers [0] is not supported"),
        ({"num_key_value_heads": 5}, "32 attention heads are not a multiple of 5 key-value heads"),
        ({"head_dim": 127}, "head_dim 127 is odd"),
        ({"hidden_size": 0}, "hidden_size is 0, expected a positive whole number"),
        ({"num_hidden_layers": "48"}, "num_hidden_layers is '48', expected a positive whole number"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True, expected a positive whole number"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small', expected a positive number"),
        ({"num_attention_heads": 0, "head_dim": None}, "a setting is not of its kind"),
        ({"num_experts_per_tok": 200}, "num_experts_per_tok is 200, expected at most num_experts, 128"),
        ({"num_experts": 0}, "num_experts is 0, expected a positive whole number"),
        ({"rope_scaling": "yarn"}, "a setting is not of its kind"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_followed_is_refused_in_one_line(change, says):
    with pytest.raises(ModelError) as problem:
        TrunkConfig.from_huggingface(PUBLISHED | change, "folder/config.json")
    assert str(problem.value).startswith("folder/config.json: ")
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "moe_intermediate_size", "num_experts"])
def test_a_missing_size_is_named(field):
    lacking = {name: value for name, value in PUBLISHED.items() if name != field}
    with pytest.raises(ModelError, match=f"config.json: {field} is missing"):
        TrunkConfig.from_huggingface(lacking)


def test_a_file_that_is_no_config_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json here"):
        read_config(tmp_path)
    for text, says in (("{", "cannot be read as JSON"), (json.dumps([1]), "holds a list, expected the object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=says):
            read_config(tmp_path)
