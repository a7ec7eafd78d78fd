"""Published configs made small: every ratio and setting that a mistake could hide behind is kept, sizes are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.models.tiny import build

VOCABULARY, LAYERS, LENGTH = 307, 4, 320

_QWEN2P5 = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "rms_norm_eps": 1e-6}
_QWEN3 = _QWEN2P5 | {"head_dim": 32}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_MOE = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 24}


def _sizes(hidden: int, mlp: int, heads: int, kv_heads: int, tied: bool) -> dict[str, Any]:
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "tie_word_embeddings")
    return dict(zip(names, (hidden, mlp, heads, kv_heads, tied)))


# Name of the published model -> (stem of its transformers classes, its config with smaller sizes)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "SmolLM2-135M": ("Llama", _sizes(72, 192, 9, 3, True) | {"rms_norm_eps": 1e-5}),
    "Llama-3.2-1B": (
        "Llama",
        _sizes(128, 256, 8, 2, True)
        | {"rope_parameters": _LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 64}},
    ),
    "Qwen2.5-0.5B": ("Qwen2", _sizes(112, 304, 14, 2, True) | _QWEN2P5),
    "Qwen2.5-7B": ("Qwen2", _sizes(112, 296, 14, 2, False) | _QWEN2P5),
    "Qwen2.5-14B with YaRN": (
        "Qwen2",
        _sizes(160, 216, 10, 2, False) | _QWEN2P5 | {"rope_parameters": _YARN | {"rope_theta": 1e6}},
    ),
    # head_dim is twice D / H.
    "Qwen3-0.6B": ("Qwen3", _sizes(64, 192, 4, 2, True) | _QWEN3),
    "Qwen3-8B": ("Qwen3", _sizes(128, 192, 4, 1, False) | _QWEN3),
    "Qwen3-32B with YaRN": (
        "Qwen3",
        _sizes(80, 200, 8, 1, False) | _QWEN3 | {"rope_parameters": _YARN | {"rope_theta": 1e6, "factor": 2.5}},
    ),
    "Qwen3-30B-A3B": ("Qwen3Moe", _sizes(64, 192, 8, 1, False) | _QWEN3 | _MOE | {"norm_topk_prob": True}),
    "Qwen3-30B-A3B without normalised weights": (
        "Qwen3Moe",
        _sizes(64, 192, 8, 1, True) | _QWEN3 | _MOE | {"norm_topk_prob": False},
    ),
}


def shrunken(name: str, folder: Path, task: str) -> torch.nn.Module:
    """A float32 model in the shape of the published one, saved under `folder`.

    Weights are of a trained model's size, so that activations are, and every one is a bfloat16: a bfloat16 model
    of them has the same truth.
    """
    stem, settings = MODELS[name]
    sizes = {"vocab_size": VOCABULARY, "num_hidden_layers": LAYERS, "max_position_embeddings": 4 * LENGTH}
    model = build(stem + task, **(sizes | settings), num_labels=1, pad_token_id=0)
    with torch.no_grad():
        for kind, weight in model.named_parameters():
            noise = torch.randn_like(weight)
            if "norm" in kind:
                noise = 1 + 0.2 * noise
            elif "bias" in kind:
                noise = 0.5 * noise
            elif "embed" not in kind or settings["tie_word_embeddings"]:
                # As many inputs as the last axis has; a router is sharper, a tied embedding serves as a head too.
                noise = noise * weight.shape[-1] ** -0.5 * (3 if "mlp.gate.weight" in kind else 1)
            weight.copy_(noise.bfloat16().float())
    model.save_pretrained(folder)
    return model
