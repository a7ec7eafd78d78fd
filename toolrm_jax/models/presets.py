"""Shapes of published backbones by name, for planning, benchmarks and tests that need no weights.

Source: the `config.json` of each repository under huggingface.co/Qwen and of HuggingFaceTB/SmolLM2-135M-Instruct.
Of Qwen2.5 they are the instruct models', whose base models differ from them in `rms_norm_eps` (1e-5 from 14B on) and
`max_position_embeddings` only.
"""

from __future__ import annotations

import difflib

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig


def _qwen2p5(
    hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, *, vocab: int = 152064, tied: bool = False
) -> TrunkConfig:
    sizes = (vocab, hidden, mlp, layers, heads, kv_heads, hidden // heads)
    return TrunkConfig("qwen2", *sizes, 1e6, 1e-6, 32768, tied)


def _qwen3(hidden: int, mlp: int, layers: int, heads: int, kv_heads: int = 8, *, tied: bool = False) -> TrunkConfig:
    return TrunkConfig("qwen3", 151936, hidden, mlp, layers, heads, kv_heads, 128, 1e6, 1e-6, 40960, tied)


PRESETS = {
    "SmolLM2-135M": TrunkConfig("llama", 49152, 576, 1536, 30, 9, 3, 64, 1e5, 1e-5, 8192, True),
    "Qwen2.5-0.5B": _qwen2p5(896, 4864, 24, 14, 2, vocab=151936, tied=True),
    "Qwen2.5-1.5B": _qwen2p5(1536, 8960, 28, 12, 2, vocab=151936, tied=True),
    "Qwen2.5-3B": _qwen2p5(2048, 11008, 36, 16, 2, vocab=151936, tied=True),
    "Qwen2.5-7B": _qwen2p5(3584, 18944, 28, 28, 4),
    "Qwen2.5-14B": _qwen2p5(5120, 13824, 48, 40, 8),
    "Qwen2.5-32B": _qwen2p5(5120, 27648, 64, 40, 8),
    "Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, tied=True),
    "Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, tied=True),
    "Qwen3-4B": _qwen3(2560, 9728, 36, 32, tied=True),
    "Qwen3-8B": _qwen3(4096, 12288, 36, 32),
    "Qwen3-14B": _qwen3(5120, 17408, 40, 40),
    "Qwen3-32B": _qwen3(5120, 25600, 64, 64),
    "Qwen3-30B-A3B": TrunkConfig(
        *("qwen3_moe", 151936, 2048, 6144, 48, 32, 4, 128, 1e6, 1e-6, 40960, False),
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
        norm_topk_prob=True,
    ),
}


def preset(name: str) -> TrunkConfig:
    """The shape of that name, in any case. Raises ModelError, with the nearest names."""
    by_name = {key.lower(): key for key in PRESETS}
    if name.lower() in by_name:
        return PRESETS[by_name[name.lower()]]
    near = difflib.get_close_matches(name.lower(), by_name, n=3)
    nearest = f"the nearest are {', '.join(by_name[one] for one in near)}" if near else f"known: {', '.join(PRESETS)}"
    raise ModelError(f"no preset {name!r}; {nearest}")
