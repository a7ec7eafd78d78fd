"""Tiny random models made by transformers, the reference that ours are held against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers

KINDS = ("Llama", "Qwen2", "Qwen3", "Qwen3Moe")


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
    if kind.startswith("Qwen3"):
        settings["head_dim"] = 20
    if kind == "Qwen3Moe":
        settings |= {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 28, "norm_topk_prob": True}
    model = build(kind + task, **(settings | changes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Norm scales near one, biases and matrices spread: a missing bias or norm must show.
            weight.copy_(torch.randn_like(weight) * 0.15 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder)
    return model


def build(architecture: str, **settings) -> torch.nn.Module:
    """A model of a transformers class; the generator is seeded alike each time."""
    config = getattr(transformers, architecture.partition("For")[0] + "Config")(**settings)
    torch.manual_seed(0)
    return getattr(transformers, architecture)(config).eval()


def scores(model: torch.nn.Module, sequence: np.ndarray) -> torch.Tensor:
    """transformers' score of one sequence alone."""
    return model(torch.tensor(np.asarray(sequence)[None].astype(np.int64))).logits[0, 0]


def published(tensors) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors by the names that models are published with: what transformers 5 fuses over experts, one by one."""
    for name, tensor in tensors:
        stem, _, fused = name.partition("experts.")
        if not fused:
            yield name, tensor
            continue
        for expert, one in enumerate(tensor):
            parts = {"down_proj": one} if fused == "down_proj" else dict(zip(("gate_proj", "up_proj"), one.chunk(2)))
            for part, matrix in parts.items():
                yield f"{stem}experts.{expert}.{part}.weight", matrix
