"""A backbone's shape, as Hugging Face's `config.json` gives it: Llama, Qwen2 and Qwen3 are settings of one trunk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ModelError

# model_type -> (stem of the transformers class names, bias on q, k and v, norm on q and k)
FAMILIES = {"llama": ("Llama", False, False), "qwen2": ("Qwen2", True, False), "qwen3": ("Qwen3", False, True)}


@dataclasses.dataclass(frozen=True, slots=True)
class TrunkConfig:
    """Sizes and settings of a decoder; field names are those of Hugging Face configs."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool

    def __post_init__(self) -> None:
        if self.model_type not in FAMILIES:
            raise ModelError(f"model_type {self.model_type!r} is not supported; known: {', '.join(FAMILIES)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ModelError(f"model config: {field.name} is {value}, expected a positive whole number")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ModelError(
                f"model config: {self.num_attention_heads} attention heads are not a multiple of "
                f"{self.num_key_value_heads} key-value heads"
            )
        if self.head_dim % 2:
            raise ModelError(f"model config: head_dim {self.head_dim} is odd; rotary positions need pairs")

    @property
    def qkv_bias(self) -> bool:
        """Whether the query, key and value projections have a bias (Qwen2)."""
        return FAMILIES[self.model_type][1]

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head (Qwen3)."""
        return FAMILIES[self.model_type][2]

    def architecture(self, task: str) -> str:
        """The transformers class for a task: `ForCausalLM` or `ForSequenceClassification`."""
        return FAMILIES[self.model_type][0] + task

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any], where: str = "config.json") -> TrunkConfig:
        """Read a `config.json`. Raises ModelError for an architecture or setting this trunk does not have."""
        kind = config.get("model_type")
        if kind not in FAMILIES:
            raise ModelError(f"{where}: model_type {kind!r} is not supported; known: {', '.join(FAMILIES)}")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        scaling = rope.get("rope_type", rope.get("type", "default"))
        if scaling != "default":
            raise ModelError(f"{where}: rotary scaling {scaling!r} is not supported yet; only 'default' is")
        if config.get("use_sliding_window"):
            raise ModelError(f"{where}: sliding-window attention is not supported; set use_sliding_window to false")
        if config.get("hidden_act", "silu") != "silu":
            raise ModelError(f"{where}: hidden_act {config['hidden_act']!r} is not supported; only 'silu' is")
        if kind == "llama" and (config.get("attention_bias") or config.get("mlp_bias")):
            raise ModelError(f"{where}: Llama with attention_bias or mlp_bias is not supported")
        try:
            heads = config["num_attention_heads"]
            return cls(
                model_type=kind,
                vocab_size=config["vocab_size"],
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                num_hidden_layers=config["num_hidden_layers"],
                num_attention_heads=heads,
                num_key_value_heads=config.get("num_key_value_heads") or heads,
                head_dim=config.get("head_dim") or config["hidden_size"] // heads,
                rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
                rms_norm_eps=config.get("rms_norm_eps", 1e-6),
                max_position_embeddings=config.get("max_position_embeddings", 2048),
                tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            )
        except KeyError as missing:
            raise ModelError(f"{where}: {missing.args[0]} is missing") from None


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder as a dict."""
    file = folder / "config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no config.json here; give a Hugging Face model folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error})") from None
