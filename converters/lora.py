"""Low-rank adapters at export: merged into the weights, or beside the backbone as a folder that PEFT loads.

An adapter changes the matrix W [out, in] of a linear layer, in the published layout, to W + alpha / rank · B · A.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from toolrm_jax.converters.expected import SCORE, Task
from toolrm_jax.converters.huggingface import Tokens
from toolrm_jax.converters.safetensors_file import PendingTensor, check_dtype, write_safetensors
from toolrm_jax.errors import ModelError
from toolrm_jax.files import new_folder, write_file

if TYPE_CHECKING:
    from toolrm_jax.models.heads import RewardModel

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_TASK_TYPE: dict[Task, str] = {"reward": "SEQ_CLS", "policy": "CAUSAL_LM"}
_PREFIX = "base_model.model."


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """The adapter of one matrix [out, in] of the published layout: B · A, of any float dtype."""

    a: Float[np.ndarray, "rank in"]
    b: Float[np.ndarray, "out rank"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Loras:
    """Adapters by the published name of the matrix they change, such as model.layers.0.self_attn.q_proj.weight.

    All have one rank. Raises ModelError for one of another, and for shapes that do not go together.
    """

    adapters: Mapping[str, Lora]
    alpha: float

    def __post_init__(self) -> None:
        if not self.adapters:
            raise ModelError("no adapter is given, so there is nothing to merge or to export")
        for name, lora in self.adapters.items():
            shapes = tuple(lora.a.shape), tuple(lora.b.shape)
            if list(map(len, shapes)) != [2, 2] or lora.a.shape[0] != lora.b.shape[1]:
                raise ModelError(
                    f"adapter of {name}: A has shape {shapes[0]}, B {shapes[1]}; give [rank, in], [out, rank]"
                )
            if lora.a.shape[0] != self.rank:
                raise ModelError(f"adapter of {name}: rank {lora.a.shape[0]}, others have {self.rank}; give one rank")

    @property
    def rank(self) -> int:
        """Rank of every adapter."""
        return next(iter(self.adapters.values())).a.shape[0]

    @property
    def scale(self) -> float:
        """What B · A is multiplied by."""
        return self.alpha / self.rank

    def check_fits(self, tensors: Sequence[PendingTensor]) -> None:
        """Raise ModelError for an adapter whose matrix the model has not, or has in another shape."""
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        for name, lora in self.adapters.items():
            made = (lora.b.shape[0], lora.a.shape[1])
            if name not in shapes:
                raise ModelError(f"adapter of {name}: the model has no such tensor")
            if tuple(shapes[name]) != made:
                raise ModelError(f"adapter of {name}: it is of a matrix {made}, the model's is {tuple(shapes[name])}")


def model_loras(model: RewardModel) -> Loras:
    """The adapters of a model, in the published layout. Raises ModelError for a model without any."""
    from flax import nnx

    from toolrm_jax.models.declarations import declarations
    from toolrm_jax.models.lora import LoraConfig, adapter_weights

    found, alpha = {}, 0.0
    state = dict(nnx.to_flat_state(nnx.split(model)[1]))
    for path, (weight, layers) in declarations(model.config, model.trunk.frozen_layers).items():
        sides = [(*path[:-1], f"{path[-1]}_lora_{side}") for side in "ab"]
        if sides[0] not in state:
            continue
        a, b = (np.asarray(state[side].get_value()) for side in sides)
        rank = a.shape[-1]
        alpha = model.trunk.stacks[path[2]].adapter_scale * rank
        of_a, of_b = adapter_weights({path[-1]: weight}, LoraConfig(rank=rank)).values()
        for index, layer in enumerate(layers):
            name = weight.huggingface.format(layer=layer)
            found[name] = Lora(of_a.to_huggingface(a[index]), of_b.to_huggingface(b[index]))
    return Loras(found, alpha)


def merged(tensors: Sequence[PendingTensor], loras: Loras) -> list[PendingTensor]:
    """The tensors with each adapter in its matrix, added in float32. Raises ModelError for one without a place."""
    loras.check_fits(tensors)
    return [
        dataclasses.replace(tensor, make=functools.partial(_merge, tensor, lora, loras.scale))
        if (lora := loras.adapters.get(tensor.name))
        else tensor
        for tensor in tensors
    ]


def _merge(tensor: PendingTensor, lora: Lora, scale: float) -> np.ndarray:
    change = np.asarray(lora.b, np.float32) @ np.asarray(lora.a, np.float32)
    change *= np.float32(scale)
    change += np.asarray(tensor.make(), np.float32)
    return change


def export_peft(
    output: str | Path,
    *,
    base: str,
    tensors: Sequence[PendingTensor],
    loras: Loras,
    chat: Tokens,
    card: str,
    task: Task = "reward",
    dtype: str = "float32",
    made_from: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the adapters as the folder `output`, in PEFT's format, and return it.

    base: hub id or folder of the backbone that they change, as PEFT will look for it. tensors: those of the whole
    model (`model_tensors`), whose names and shapes the adapters are held against; of a reward model its head is
    written too, since the backbone has none. dtype: of the adapters and the head. made_from: as for `export_folder`.
    Raises ModelError for an adapter without a place, and for one of an expert: PEFT knows those by other names.
    """
    check_dtype(dtype)
    loras.check_fits(tensors)
    for name in loras.adapters:
        if ".experts." in name or not name.endswith(".weight"):
            raise ModelError(f"adapter of {name}: PEFT's format has no place for it; merge it at export instead")
    written = [one for name, lora in loras.adapters.items() for one in _pending(name.removesuffix(".weight"), lora)]
    if task == "reward":
        (head,) = [tensor for tensor in tensors if tensor.name == SCORE] or [None]
        if head is None:
            raise ModelError(f"the model has no {SCORE}, so it is no reward model; export it as a policy")
        written.append(dataclasses.replace(head, name=_PREFIX + SCORE))
    names = [name.removesuffix(".weight") for name in loras.adapters]
    everything = [tensor.name.removesuffix(".weight") for tensor in tensors if len(tensor.shape) == 2]
    about: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": _TASK_TYPE[task],
        "base_model_name_or_path": base,
        "r": loras.rank,
        "lora_alpha": loras.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": _targets(names, everything),
        "modules_to_save": ["score"] if task == "reward" else None,
    }
    with new_folder(Path(output), overwrite) as folder:
        write_safetensors(folder / WEIGHTS, written, dtype)
        write_file(folder / CONFIG, json.dumps(about, indent=2) + "\n")
        chat.save(folder)
        write_file(folder / "README.md", card)
        known = {"config": {"dtype": dtype, "task": task, "base": base}, "inputs": {}}
        write_file(folder / "card.json", json.dumps(dict(made_from or known), indent=1) + "\n")
    return Path(output)


def _pending(module: str, lora: Lora) -> tuple[PendingTensor, PendingTensor]:
    return (
        PendingTensor(f"{_PREFIX}{module}.lora_A.weight", tuple(lora.a.shape), lambda: np.asarray(lora.a)),
        PendingTensor(f"{_PREFIX}{module}.lora_B.weight", tuple(lora.b.shape), lambda: np.asarray(lora.b)),
    )


def _targets(adapted: Sequence[str], modules: Sequence[str]) -> list[str]:
    """What PEFT finds those modules by, and no others: the ends of their names, or the names where ends say more."""
    ends = sorted({name.rpartition(".")[2] for name in adapted})
    found = {name for name in modules if name.rpartition(".")[2] in ends}
    return ends if found == set(adapted) else sorted(adapted)
