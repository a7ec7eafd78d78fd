"""Reading and writing the weights of a Hugging Face folder, straight from the declarations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig, read_config
from toolrm_jax.models.heads import RewardModel, head_weights, lm_head_weights
from toolrm_jax.models.layers import layer_weights
from toolrm_jax.models.trunk import trunk_weights
from toolrm_jax.models.weights import Weight

# A causal LM has no scalar head, a sequence classifier no language-model head: neither is needed to start.
OPTIONAL = ("score.weight", "lm_head.weight")


def declarations(config: TrunkConfig, frozen_layers: int = 0) -> dict[tuple[str | int, ...], tuple[Weight, range]]:
    """Every parameter of a RewardModel by its path, with its declaration and the layers it stacks (empty: none)."""
    none = range(0)
    found = {(name,): (weight, none) for name, weight in (head_weights(config) | lm_head_weights(config)).items()}
    found |= {("trunk", name): (weight, none) for name, weight in trunk_weights(config).items()}
    edges = [0, frozen_layers, config.num_hidden_layers] if frozen_layers else [0, config.num_hidden_layers]
    stacks = [range(start, stop) for start, stop in pairwise(edges) if stop > start]
    for index, layers in enumerate(stacks):
        found |= {("trunk", "stacks", index, name): (weight, layers) for name, weight in layer_weights(config).items()}
    return found


class Tensors:
    """The tensors of a folder by name, read one at a time from its safetensors files."""

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        self.folder = folder
        if index.exists():
            self.files = json.loads(index.read_text())["weight_map"]
        elif (folder / "model.safetensors").exists():
            with self._open("model.safetensors") as file:
                self.files = dict.fromkeys(file.keys(), "model.safetensors")
        else:
            raise ModelError(f"{folder}: no model.safetensors here; only safetensors weights are read")

    def _open(self, name: str) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self.folder / name, framework="flax")
        except FileNotFoundError:
            raise ModelError(f"{self.folder}: the index names {name}, which is missing; download it again") from None
        except SafetensorError as error:
            raise ModelError(f"{self.folder / name}: damaged or cut short ({error}); download it again") from None

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str, weight: Weight) -> np.ndarray:
        """One tensor in our layout, in the file's dtype. Raises ModelError where its shape is not the declared one."""
        if name not in self.files:
            raise ModelError(f"{self.folder}: tensor {name} is missing; the folder is not whole or not this model")
        with self._open(self.files[name]) as file:
            tensor = np.asarray(file.get_tensor(name))
        if tensor.shape != weight.huggingface_shape:
            raise ModelError(
                f"{self.folder}: tensor {name} has shape {tensor.shape}, "
                f"config.json asks for {weight.huggingface_shape}"
            )
        return weight.from_huggingface(tensor)


def shortened(raw: dict[str, Any], layers: int | None, where: str) -> dict[str, Any]:
    """A `config.json` with only the lowest `layers` layers. Raises ModelError where there are not so many."""
    there = raw.get("num_hidden_layers", 0)
    if layers is None:
        return raw
    if not 1 <= layers <= there:
        raise ModelError(f"{where}: {layers} layers cannot be kept, the model has {there}; lower model.layers")
    kept = raw | {"num_hidden_layers": layers}
    return kept | {"layer_types": raw["layer_types"][:layers]} if "layer_types" in raw else kept


def load_model(
    folder: str | Path, *, layers: int | None = None, frozen_layers: int = 0, dtype: jnp.dtype = jnp.float32
) -> tuple[RewardModel, tuple[str, ...]]:
    """The model of a Hugging Face folder, of its lowest `layers` where given, and the optional tensors it lacked.

    Without a scalar head it gets one of zeros. Raises ModelError for a missing, damaged or differently shaped tensor.
    """
    folder = Path(folder)
    raw = shortened(read_config(folder), layers, str(folder))
    config = TrunkConfig.from_huggingface(raw, str(folder / "config.json"))
    if not 0 <= frozen_layers <= config.num_hidden_layers:
        raise ModelError(f"{folder}: {frozen_layers} layers cannot be frozen, the model has {config.num_hidden_layers}")
    tensors = Tensors(folder)
    graph, abstract = nnx.split(
        nnx.eval_shape(lambda: RewardModel(config, frozen_layers=frozen_layers, rngs=nnx.Rngs(0)))
    )
    missing, values = [], {}
    for path, (weight, span) in declarations(config, frozen_layers).items():
        if weight.huggingface in OPTIONAL and weight.huggingface not in tensors:
            missing.append(weight.huggingface)
            values[path] = jnp.zeros(weight.shape, dtype)
        elif span:
            stack = [tensors.read(weight.huggingface.format(layer=layer), weight) for layer in span]
            values[path] = jnp.asarray(np.stack(stack), dtype)
        else:
            values[path] = jnp.asarray(tensors.read(weight.huggingface, weight), dtype)
    flat = abstract.flat_state()
    assert set(flat.paths) == set(values), set(flat.paths) ^ set(values)
    filled = [(path, variable.replace(values[path])) for path, variable in zip(flat.paths, flat.leaves)]
    return nnx.merge(graph, nnx.from_flat_state(filled)), tuple(missing)


def huggingface_tensors(model: RewardModel) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight under its Hugging Face name and layout, in the model's own dtype."""
    state = dict(nnx.split(model)[1].flat_state())
    for path, (weight, layers) in declarations(model.config, model.trunk.frozen_layers).items():
        value = np.asarray(state[path].get_value())
        if layers:
            for layer, one in zip(layers, value):
                yield weight.huggingface.format(layer=layer), weight.to_huggingface(one)
        else:
            yield weight.huggingface, weight.to_huggingface(value)
