"""Which tensors a folder must hold, by name and shape.

Our declarations say it; where torch is there, so does the transformers class, built on the meta device without weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig

Task = Literal["reward", "policy"]
SUFFIX = {"reward": "ForSequenceClassification", "policy": "ForCausalLM"}
Shapes = Mapping[str, tuple[int, ...]]
SCORE, LM_HEAD = "score.weight", "lm_head.weight"
"""The heads: a reward model has the one, a policy whose embedding is not its head the other."""
EMBEDDING = "model.embed_tokens.weight"
"""What a policy without a head of its own has for one."""


def is_of_task(name: str, task: Task) -> bool:
    """Whether a tensor of that name stands in a folder for the task: each has its own head alone."""
    return name != (LM_HEAD if task == "reward" else SCORE)


def expected_shapes(config: TrunkConfig, task: Task) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the folder, by the published names: experts one by one."""
    from toolrm_jax.models.declarations import declarations

    return {
        name: weight.huggingface_shape
        for weight, layers in declarations(config).values()
        for layer in layers or (0,)
        for expert in range(weight.experts or 1)
        if is_of_task(name := weight.huggingface.format(layer=layer, expert=expert), task)
    }


def check_shapes(found: Shapes, expected: Shapes, whose: str) -> None:
    """Raise ModelError at the first tensor of `found` that is missing, unknown, or of another shape."""
    for name, shape in expected.items():
        if name not in found:
            raise ModelError(f"{whose}: tensor {name} is missing; the model is not whole or of another config")
        if tuple(found[name]) != tuple(shape):
            raise ModelError(f"{whose}: tensor {name} has shape {tuple(found[name])}, expected {tuple(shape)}")
    for name in found:
        if name not in expected:
            raise ModelError(f"{whose}: tensor {name} is not one of this architecture's, so its value would be lost")


def has_torch() -> bool:
    """Whether the transformers classes can be asked."""
    return importlib.util.find_spec("torch") is not None


def transformers_shapes(raw: Mapping[str, Any], task: Task) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the transformers class for that `config.json`. Needs torch (extra `hf`)."""
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(**raw)
    kind = getattr(transformers, config.architectures[0])
    with torch.device("meta"):
        model = kind(config)
    tied = task == "policy" and config.tie_word_embeddings
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return dict(_published(shapes, {LM_HEAD} if tied else set()))


def _published(shapes: Shapes, without: set[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors that transformers 5 holds fused over experts, by the names they are published with."""
    for name, shape in shapes.items():
        stem, _, part = name.partition(".experts.")
        if name in without:
            continue
        if part not in ("gate_up_proj", "down_proj"):
            yield name, shape
            continue
        count, rows, columns = shape
        parts = {"down_proj": rows} if part == "down_proj" else {"gate_proj": rows // 2, "up_proj": rows // 2}
        for expert in range(count):
            for one, height in parts.items():
                yield f"{stem}.experts.{expert}.{one}.weight", (height, columns)
