"""The model that the benchmarks beside this file hold ours against."""

from pathlib import Path

import torch
import transformers

from toolrm_jax.models.config import TrunkConfig


def torch_classifier(shape: TrunkConfig, folder: Path) -> torch.nn.Module:
    """transformers' classifier of a shape of Qwen3, with random weights that are saved under `folder` too."""
    config = transformers.Qwen3Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        head_dim=shape.head_dim,
        rope_theta=shape.rope_theta,
        max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=True,
        num_labels=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.Qwen3ForSequenceClassification._from_config(config, attn_implementation="sdpa")
    model.save_pretrained(folder)
    return model
