"""The `config.json` of an exported folder, which engines of transformers 4 and of 5 read alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from toolrm_jax.converters.expected import SUFFIX, Task
from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import check_family
from toolrm_jax.models.rope import rope_settings

# What a classifier's config has and a causal LM's has not.
_CLASSIFIER = ("num_labels", "id2label", "label2id", "problem_type")


class Ids(Protocol):
    """The special tokens that engines are told of."""

    end_of_turn_id: int
    pad_id: int


def engine_config(config: Mapping[str, Any], ids: Ids, dtype: str, task: Task) -> dict[str, Any]:
    """The config from the backbone's.

    Of a reward model: `problem_type` regression keeps vLLM from a sigmoid on the one output, and labels keep SGLang
    from normalising; the score is read at the last token that is not `pad_token_id`.
    """
    plain = {name: value for name, value in config.items() if name not in _CLASSIFIER}
    reward = {
        "num_labels": 1,
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "problem_type": "regression",
        "use_cache": False,
    }
    return {
        **both_generations(plain),
        "architectures": [check_family(config.get("model_type")).stem + SUFFIX[task]],
        **(reward if task == "reward" else {"use_cache": True}),
        "pad_token_id": ids.pad_id,
        "eos_token_id": ids.end_of_turn_id,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def both_generations(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings under the names of transformers 4 and of 5.

    Engines that stand on transformers 4 know nothing of `rope_parameters` and would silently take theta's default;
    the count of experts was renamed too.
    """
    rope = rope_settings(config)
    kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    rope.pop("type", None)
    theta = rope.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    scaling = {"rope_type": kind, **rope}
    both = {
        **config,
        "rope_theta": theta,
        "rope_scaling": None if kind == "default" else scaling,
        "rope_parameters": {**scaling, "rope_theta": theta},
    }
    if (experts := config.get("num_local_experts", config.get("num_experts"))) is not None:
        both |= {"num_experts": experts, "num_local_experts": experts}
    return both


def check_serves(config: Mapping[str, Any], end_of_turn_id: int, where: str) -> None:
    """Raise ModelError where engines would read a reward model's score elsewhere, or change it."""
    if config.get("pad_token_id") == end_of_turn_id:
        raise ModelError(
            f"{where}: pad_token_id is the end-of-turn token, so engines read the score inside the prompt; "
            "export the model again"
        )
    if config.get("pad_token_id") is None:
        raise ModelError(f"{where}: pad_token_id is not set, so no engine scores a batch; export the model again")
    if config.get("problem_type") != "regression":
        raise ModelError(
            f"{where}: problem_type is {config.get('problem_type')!r}, so engines put a sigmoid on the score; "
            'set it to "regression"'
        )
    if not (config.get("id2label") or config.get("label2id")):
        raise ModelError(f"{where}: id2label is missing, so SGLang normalises before the head; export the model again")
