"""A trained reward model as a folder that transformers, SGLang and vLLM load as a sequence classifier."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolrm_jax.converters.safetensors_file import PendingTensor, check_dtype, tensor_bytes, write_safetensors
from toolrm_jax.errors import ModelError
from toolrm_jax.files import file_hash, new_folder, write_file

FORMAT_VERSION = 1
SCORE = "score.weight"
# A causal LM's output matrix: a classifier has none.
_NOT_EXPORTED = ("lm_head.weight",)
_REWARD_FIELDS = ("mean", "std", "training_config_hash", "data_card_hash")


class Tokens(Protocol):
    """What export needs of a tokenizer with its chat template (`toolrm_jax.data.chat.Chat`)."""

    end_of_turn: str
    end_of_turn_id: int
    pad_id: int

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files."""


def export_folder(
    output: str | Path,
    *,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]],
    chat: Tokens,
    reward: Mapping[str, Any],
    card: str,
    dtype: str = "bfloat16",
    max_shard_size: int = 4 * 1024**3,
    overwrite: bool = False,
) -> Path:
    """Write the folder `output` and return it; AutoModelForSequenceClassification loads it.

    config: the backbone's Hugging Face `config.json`. tensors: by Hugging Face name, with `score.weight`
    [1, hidden]; `lm_head.weight` is left out. reward: `mean` and `std` of the reward on the held-out set,
    `training_config_hash` and `data_card_hash`. card: README.md. max_shard_size: bytes of tensors in one file, of
    which one stands in memory at a time; a larger tensor has a file to itself. Raises ModelError for a tensor that
    is missing, of another shape, or not finite.
    """
    check_dtype(dtype)
    if wrong := set(_REWARD_FIELDS) ^ set(reward):
        raise ModelError(f"reward facts: {sorted(wrong)[0]!r} is missing or unknown; give {', '.join(_REWARD_FIELDS)}")
    if chat.pad_id == chat.end_of_turn_id:
        raise ModelError(
            "the pad token is the end-of-turn token, so no engine could tell where to score; choose another"
        )
    facts = {
        "format_version": FORMAT_VERSION,
        "score_position": "end_of_turn",
        "end_of_turn_token": chat.end_of_turn,
        "end_of_turn_id": chat.end_of_turn_id,
        "reward": dict(reward),
    }
    with new_folder(Path(output), overwrite) as folder:
        _write_weights(
            folder, tensors.items() if isinstance(tensors, Mapping) else tensors, config, dtype, max_shard_size
        )
        write_file(folder / "config.json", json.dumps(classifier_config(config, chat, dtype), indent=2) + "\n")
        chat.save(folder)
        write_file(folder / "README.md", card)
        write_file(folder / "toolrm.json", json.dumps(facts, indent=2) + "\n")
        files = {file.name: file_hash(file) for file in sorted(folder.iterdir())}
        made_from = {"config": {"dtype": dtype}, "inputs": {"training_config": reward["training_config_hash"]}}
        write_file(folder / "card.json", json.dumps({**made_from, "files": files}, indent=1) + "\n")
    return Path(output)


def classifier_config(config: Mapping[str, Any], chat: Tokens, dtype: str) -> dict[str, Any]:
    """The `config.json` of the reward model from that of its backbone.

    `problem_type` regression keeps engines from putting a sigmoid on the one output; the score is read at the last
    token that is not `pad_token_id`.
    """
    stem = config["architectures"][0].partition("For")[0]
    return {
        **config,
        "architectures": [f"{stem}ForSequenceClassification"],
        "num_labels": 1,
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "problem_type": "regression",
        "pad_token_id": chat.pad_id,
        "eos_token_id": chat.end_of_turn_id,
        "use_cache": False,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _write_weights(
    folder: Path, tensors: Iterable[tuple[str, np.ndarray]], config: Mapping[str, Any], dtype: str, max_shard_size: int
) -> None:
    """Write `model.safetensors`, or shards and their index where there is more than one."""
    shards: list[list[str]] = []
    total = 0
    for shard in _shards(_checked(tensors, config), dtype, max_shard_size):
        write_safetensors(folder / f"shard-{len(shards)}", shard, dtype)
        shards.append([tensor.name for tensor in shard])
        total += sum(tensor_bytes(tensor.shape, dtype) for tensor in shard)
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / "model.safetensors")
        return
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for i, name in enumerate(names):
        (folder / f"shard-{i}").rename(folder / name)
    placed = {tensor: name for name, shard in zip(names, shards) for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
    write_file(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")


def _checked(tensors: Iterable[tuple[str, np.ndarray]], config: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    seen = set()
    for name, value in tensors:
        if name in _NOT_EXPORTED:
            continue
        if not np.isfinite(np.asarray(value, np.float32).sum()):
            raise ModelError(f"tensor {name} holds values that are not finite; export an earlier checkpoint")
        if name == SCORE and value.shape != (1, config["hidden_size"]):
            raise ModelError(f"tensor {SCORE} has shape {value.shape}, expected (1, {config['hidden_size']})")
        if name in seen:
            raise ModelError(f"tensor {name} is given twice")
        seen.add(name)
        yield name, value
    if SCORE not in seen:
        raise ModelError(f"tensor {SCORE} is missing; a reward model needs its scalar head")


def _shards(
    tensors: Iterable[tuple[str, np.ndarray]], dtype: str, max_shard_size: int
) -> Iterator[list[PendingTensor]]:
    shard: list[PendingTensor] = []
    size = 0
    for name, value in tensors:
        more = tensor_bytes(value.shape, dtype)
        if shard and size + more > max_shard_size:
            yield shard
            shard, size = [], 0
        shard.append(PendingTensor(name, value.shape, functools.partial(np.asarray, value)))
        size += more
    yield shard
