"""Hugging Face folders of random weights in the shape of any config, written without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from toolrm_jax.converters.expected import SUFFIX, Task, expected_shapes
from toolrm_jax.models.config import TrunkConfig

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TOKENIZER = {"tokenizer.json": '{"a": "ü"}\r\n', "chat_template.jinja": "{{ x }}\n", "merges.txt": "a b\n"}


def small_config(kind: str, **changes: Any) -> dict[str, Any]:
    """A `config.json` as transformers 4 writes it."""
    stem = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3_moe": "Qwen3Moe"}[kind]
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 6, "norm_topk_prob": True}
    return {
        "architectures": [stem + "ForCausalLM"],
        "model_type": kind,
        "vocab_size": 19,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "rope_theta": 5e5,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        **(experts if kind == "qwen3_moe" else {}),
        **changes,
    }


def made_weights(config: dict[str, Any], task: Task, dtype: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor of the folder, each value of any bits that are finite: subnormal and negative zero too."""
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in expected_shapes(TrunkConfig.from_huggingface(config), task).items():
        kind = np.dtype(DTYPES[dtype])
        value = random.integers(0, 2 ** (8 * kind.itemsize), shape, np.dtype(f"u{kind.itemsize}")).view(kind)
        found[name] = np.where(np.isfinite(value.astype(np.float32)), value, -np.zeros((), kind)).astype(kind)
    return found


def write_folder(
    folder: Path, config: dict[str, Any], weights: dict[str, np.ndarray], *, files: int = 1, task: Task = "policy"
) -> Path:
    """The folder, its tensors dealt to so many files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = config["architectures"][0].partition("For")[0]
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [stem + SUFFIX[task]]}))
    for name, text in TOKENIZER.items():
        (folder / name).write_bytes(text.encode())
    names = ["model.safetensors"] if files == 1 else [f"model-{i}.safetensors" for i in range(files)]
    dealt = {name: names[i % files] for i, name in enumerate(weights)}
    for file in names:
        save_file({name: value for name, value in weights.items() if dealt[name] == file}, folder / file)
    if files > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dealt}))
    return folder


def bits(value: np.ndarray) -> np.ndarray:
    """The value's bits: what equality of floats leaves out, as of zeros, counts."""
    return np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}")


def same_bits(found: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    """Fail at the first tensor that is not there in the same dtype, shape and bits."""
    assert found.keys() == given.keys(), found.keys() ^ given.keys()
    for name, value in given.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(bits(found[name]), bits(value), err_msg=name)
