"""A trained model as a Hugging Face folder: a reward model as a sequence classifier, a policy as a causal LM."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from toolrm_jax.converters.engine_config import engine_config
from toolrm_jax.converters.expected import (
    LM_HEAD,
    Task,
    check_shapes,
    expected_shapes,
    has_torch,
    is_of_task,
    transformers_shapes,
)
from toolrm_jax.converters.safetensors_file import MAX_SHARD_SIZE, PendingTensor, check_dtype, write_shards
from toolrm_jax.errors import ModelError
from toolrm_jax.files import new_folder, write_file
from toolrm_jax.models.config import TrunkConfig

if TYPE_CHECKING:
    import jax

    from toolrm_jax.models.heads import RewardModel
    from toolrm_jax.models.weights import Weight

FORMAT_VERSION = 1
_TILE = 64, 256  # rows and columns
_ORIGIN = ("training_config_hash", "data_card_hash")
_FACTS = {"reward": ("mean", "std", *_ORIGIN), "policy": _ORIGIN}


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
    tensors: Sequence[PendingTensor],
    chat: Tokens,
    facts: Mapping[str, Any],
    card: str,
    task: Task = "reward",
    dtype: str = "bfloat16",
    max_shard_size: int = MAX_SHARD_SIZE,
    made_from: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the folder `output` and return it; transformers' Auto class of the task loads it.

    config: the backbone's Hugging Face `config.json`. tensors: by Hugging Face name (`model_tensors`); at most three
    stand in memory. facts: `training_config_hash` and `data_card_hash`, and of a reward model `mean` and `std` of the
    reward on the held-out set. card: README.md. max_shard_size: bytes of tensors in one file. made_from: `config` and
    `inputs` for card.json (see `toolrm_jax.files`); None: what is known here.
    Names and shapes are held against what our declarations and, where torch is there, transformers ask for before
    anything is written. Raises ModelError for a tensor that is missing, unknown, of another shape, or not finite.
    """
    check_dtype(dtype)
    if wrong := set(_FACTS[task]) ^ set(facts):
        raise ModelError(f"{task} facts: {min(wrong)!r} is missing or unknown; give {', '.join(_FACTS[task])}")
    if chat.pad_id == chat.end_of_turn_id:
        raise ModelError(
            "the pad token is the end-of-turn token, so no engine could tell where to score; choose another"
        )
    written = engine_config(config, chat, dtype, task)
    check_tensors(tensors, written, task)
    about = {
        "format_version": FORMAT_VERSION,
        **({"score_position": "end_of_turn"} if task == "reward" else {}),
        "end_of_turn_token": chat.end_of_turn,
        "end_of_turn_id": chat.end_of_turn_id,
        task: dict(facts),
    }
    with new_folder(Path(output), overwrite) as folder:
        write_shards(folder, tensors, dtype, max_shard_size)
        write_file(folder / "config.json", json.dumps(written, indent=2) + "\n")
        if task == "policy":
            special = ("bos_token_id", "eos_token_id", "pad_token_id")
            generation = {name: written[name] for name in special if written.get(name) is not None}
            write_file(folder / "generation_config.json", json.dumps(generation, indent=2) + "\n")
        chat.save(folder)
        write_file(folder / "README.md", card)
        write_file(folder / "toolrm.json", json.dumps(about, indent=2) + "\n")
        settings = {"dtype": dtype, "task": task, "max_shard_size": max_shard_size}
        known = {"config": settings, "inputs": {"training_config": facts["training_config_hash"]}}
        write_file(folder / "card.json", json.dumps(dict(made_from or known), indent=1) + "\n")
    return Path(output)


def check_tensors(tensors: Sequence[PendingTensor], config: Mapping[str, Any], task: Task) -> None:
    """Raise ModelError unless the tensors are those of the folder that `config` describes, each once."""
    found: dict[str, tuple[int, ...]] = {}
    for tensor in tensors:
        if tensor.name in found:
            raise ModelError(f"tensor {tensor.name} is given twice")
        found[tensor.name] = tensor.shape
    expected = expected_shapes(TrunkConfig.from_huggingface(config), task)
    check_shapes(found, expected, "the model to be exported")
    if has_torch():
        check_shapes(found, transformers_shapes(config, task), f"transformers' {config['architectures'][0]}")


def model_tensors(model: RewardModel, task: Task) -> list[PendingTensor]:
    """Every weight of the model that a folder for the task holds, by its published name.

    Each is brought to the host when its turn has come: of a stack one layer, of experts one. Raises ModelError for a
    policy whose head is all zeros, as that of a backbone without one is: every token would be as likely as any other.
    """
    from flax import nnx

    from toolrm_jax.models.declarations import declarations

    if task == "policy" and not model.config.tie_word_embeddings and not bool(model.lm_head[...].any()):
        raise ModelError(f"{LM_HEAD} is all zeros: the backbone had none, so this is no policy; export task=reward")
    state = dict(nnx.to_flat_state(nnx.split(model)[1]))
    return [
        PendingTensor(name, weight.huggingface_shape, functools.partial(_tensor, state[path].get_value(), weight, at))
        for path, (weight, layers) in declarations(model.config, model.trunk.frozen_layers).items()
        for index, layer in enumerate(layers or (0,))
        for expert in range(weight.experts or 1)
        for at in [((index,) if layers else ()) + ((expert,) if weight.experts else ())]
        if is_of_task(name := weight.huggingface.format(layer=layer, expert=expert), task)
    ]


def _tensor(value: jax.Array, weight: Weight, at: tuple[int, ...]) -> np.ndarray:
    if len(value.devices()) == 1 and next(iter(value.devices())).platform == "cpu":
        value = np.asarray(value)  # the same memory
    one = np.asarray(value[at])
    return _transposed(one.reshape(weight.huggingface_shape[::-1])) if weight.linear else weight.to_huggingface(one)


def _transposed(matrix: np.ndarray) -> np.ndarray:
    """The transposed matrix, made in tiles that stay in the processor's cache.

    Twice as fast as in one go, and five times where a row's length is a power of two.
    """
    made, (height, width) = np.empty(matrix.shape[::-1], matrix.dtype), _TILE
    for row in range(0, matrix.shape[0], height):
        for column in range(0, matrix.shape[1], width):
            tile = matrix[row : row + height, column : column + width]
            made[column : column + width, row : row + height] = tile.T
    return made
