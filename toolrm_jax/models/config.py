"""A backbone's shape, as Hugging Face's `config.json` gives it: Llama, Qwen2, Qwen3 and Qwen3-MoE share one trunk."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ModelError
from toolrm_jax.models.rope import UNSCALED, RopeScaling, rope_settings


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """What sets one architecture of the trunk apart from another. `stem` is that of the transformers class names."""

    stem: str
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: bool = False


FAMILIES = {
    "llama": Family("Llama"),
    "qwen2": Family("Qwen2", qkv_bias=True),
    "qwen3": Family("Qwen3", qk_norm=True),
    "qwen3_moe": Family("Qwen3Moe", qk_norm=True, experts=True),
}
_EXPERT_FIELDS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
# Settings that transformers has for these families and this trunk has at one value only.
_ONLY = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}


@dataclasses.dataclass(frozen=True, slots=True)
class TrunkConfig:
    """Sizes and settings of a decoder; field names are those of Hugging Face configs.

    The expert fields are zero for a dense model. With experts `intermediate_size` is not used.
    """

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
    rope_scaling: RopeScaling = UNSCALED
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    norm_topk_prob: bool = False

    def __post_init__(self) -> None:
        check_family(self.model_type)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (field.name not in _EXPERT_FIELDS or self.family.experts):
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise ModelError(f"model config: {field.name} is {value!r}, expected a positive whole number")
            elif field.type == "float" and not (isinstance(value, int | float) and value > 0):
                raise ModelError(f"model config: {field.name} is {value!r}, expected a positive number")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ModelError(
                f"model config: {self.num_attention_heads} attention heads are not a multiple of "
                f"{self.num_key_value_heads} key-value heads"
            )
        if self.head_dim % 2:
            raise ModelError(f"model config: head_dim {self.head_dim} is odd; rotary positions need pairs")
        if self.num_experts_per_tok > self.num_experts:
            raise ModelError(
                f"model config: num_experts_per_tok is {self.num_experts_per_tok}, "
                f"expected at most num_experts, {self.num_experts}"
            )

    @property
    def family(self) -> Family:
        """What is particular to the architecture."""
        return FAMILIES[self.model_type]

    def architecture(self, task: str) -> str:
        """The transformers class for a task: `ForCausalLM` or `ForSequenceClassification`."""
        return self.family.stem + task

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any], where: str = "config.json") -> TrunkConfig:
        """Read a `config.json`. Raises ModelError for an architecture or setting this trunk does not have.

        With YaRN `max_position_embeddings` is that of the stretched context, whichever of the two the file gives.
        """
        try:
            return cls._read(config)
        except KeyError as missing:
            raise ModelError(f"{where}: {missing.args[0]} is missing") from None
        except (TypeError, ValueError, ZeroDivisionError) as problem:
            raise ModelError(f"{where}: a setting is not of its kind ({problem})") from None
        except ModelError as problem:
            raise ModelError(f"{where}: {problem}") from None

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> TrunkConfig:
        family = check_family(config.get("model_type"))
        for setting, only in _ONLY.items():
            if setting == "attention_bias" and family.qkv_bias:
                continue  # transformers does not read it for Qwen2, whose biases are given
            if (config.get(setting) or only) != only:
                raise ModelError(f"{setting} {config[setting]!r} is not supported; only {only!r} is")
        if other := sorted({*(config.get("layer_types") or ())} - {"full_attention"}):
            raise ModelError(f"layer type {other[0]!r} is not supported; only 'full_attention' is")
        rope = RopeScaling.from_huggingface(config)
        longest = config.get("max_position_embeddings", 2048)
        if rope.kind == "yarn":
            longest = max(longest, round(rope.factor * rope.original_max_position_embeddings))
        experts = {}
        if family.experts:
            # transformers 5 writes `num_local_experts`.
            count = config["num_local_experts" if "num_local_experts" in config else "num_experts"]
            experts = {name: config[name] for name in _EXPERT_FIELDS[1:]} | {"num_experts": count}
            experts["norm_topk_prob"] = bool(config.get("norm_topk_prob", False))
        heads = config["num_attention_heads"]
        return cls(
            model_type=config["model_type"],
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            rope_theta=rope_settings(config).get("rope_theta") or config.get("rope_theta") or 10000.0,
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            max_position_embeddings=longest,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            rope_scaling=rope,
            **experts,
        )


def check_family(kind: Any) -> Family:
    """The family of a `model_type`. Raises ModelError, with the nearest that is known."""
    if isinstance(kind, str) and kind in FAMILIES:
        return FAMILIES[kind]
    near = difflib.get_close_matches(str(kind), FAMILIES, n=1)
    nearest = f"; the nearest is {near[0]}" if near else ""
    raise ModelError(f"model_type {kind!r} is not supported; known: {', '.join(FAMILIES)}{nearest}")


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder as a dict."""
    file = folder / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no config.json here; give a Hugging Face model folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{file}: holds a {type(found).__name__}, expected the object of a Hugging Face config")
    return found
