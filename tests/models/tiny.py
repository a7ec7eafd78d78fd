"""Tiny random models made by transformers, the reference that ours are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

KINDS = ("Llama", "Qwen2", "Qwen3")


def make(kind: str, folder: Path, task: str = "ForSequenceClassification", **changes) -> torch.nn.Module:
    """A random float32 model of three layers, saved under `folder`. Weights are large enough for logits to differ."""
    settings = {
        "vocab_size": 211,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "num_labels": 1,
        "pad_token_id": 0,
    }
    if kind == "Qwen3":
        settings["head_dim"] = 20
    config = getattr(transformers, f"{kind}Config")(**(settings | changes))
    torch.manual_seed(0)
    model = getattr(transformers, kind + task)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Norm scales near one, biases and matrices spread: a missing bias or norm must show.
            weight.copy_(torch.randn_like(weight) * 0.15 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder)
    return model


def scores(model: torch.nn.Module, sequence: np.ndarray) -> torch.Tensor:
    """transformers' score of one sequence alone."""
    return model(torch.tensor(np.asarray(sequence)[None].astype(np.int64))).logits[0, 0]
