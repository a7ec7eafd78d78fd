"""Reading and writing the weights of a Hugging Face folder, straight from the declarations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig, read_config
from toolrm_jax.models.declarations import Path as Name
from toolrm_jax.models.declarations import declarations
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.weights import Weight

# A causal LM has no scalar head, a sequence classifier no language-model head: neither is needed to start.
OPTIONAL = ("score.weight", "lm_head.weight")
Shardings = Callable[[TrunkConfig], Mapping[Name, Sharding]]
"""Where every parameter of a model of that shape lies, by its path in `declarations`."""


class Tensors:
    """The tensors of a folder by name, read one at a time from its safetensors files."""

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        self.folder = folder
        self.opened: dict[str, Any] = {}
        if index.exists():
            try:
                self.files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ModelError(f"{index}: no index of tensors ({error}); download it again") from None
        elif (folder / "model.safetensors").exists():
            self.files = dict.fromkeys(self._open("model.safetensors").keys(), "model.safetensors")
        else:
            raise ModelError(f"{folder}: no model.safetensors here; only safetensors weights are read")

    def _open(self, name: str) -> Any:
        from safetensors import SafetensorError, safe_open

        if name not in self.opened:
            try:
                self.opened[name] = safe_open(self.folder / name, framework="numpy")
            except FileNotFoundError:
                raise ModelError(
                    f"{self.folder}: the index names {name}, which is missing; download it again"
                ) from None
            except SafetensorError as error:
                raise ModelError(f"{self.folder / name}: damaged or cut short ({error}); download it again") from None
        return self.opened[name]

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def _tensor(self, name: str, shape: tuple[int, ...], part: tuple[slice, ...] = ()) -> np.ndarray:
        """A tensor, or `part` of it. Raises ModelError where its shape is not `shape`."""
        if name not in self.files:
            raise ModelError(f"{self.folder}: tensor {name} is missing; the folder is not whole or not this model")
        from safetensors import SafetensorError

        try:
            tensor = self._open(self.files[name]).get_slice(name)
        except SafetensorError:
            raise ModelError(
                f"{self.folder}: the index says that {name} is in {self.files[name]}, which lacks it; download it again"
            ) from None
        if tuple(tensor.get_shape()) != shape:
            raise ModelError(
                f"{self.folder}: tensor {name} has shape {tuple(tensor.get_shape())}, config.json asks for {shape}"
            )
        return tensor[part or ...]

    def read(self, weight: Weight, layer: int = 0) -> np.ndarray:
        """A weight of one layer in our layout, in the file's dtype. Raises ModelError for one missing or misshapen."""
        name = weight.huggingface.format(layer=layer, expert=0)
        if not weight.experts:
            return weight.from_huggingface(self._tensor(name, weight.huggingface_shape))
        fused = weight.fused
        if fused and name not in self.files and (whole := fused.huggingface.format(layer=layer)) in self.files:
            # Every expert in one tensor [experts, out, in], several weights side by side along its axis `out`.
            rows, columns = weight.huggingface_shape
            part = (slice(None), slice(fused.part * rows, (fused.part + 1) * rows))
            tensors = self._tensor(whole, (weight.experts, rows * fused.parts, columns), part)
        else:
            names = (weight.huggingface.format(layer=layer, expert=expert) for expert in range(weight.experts))
            tensors = (self._tensor(one, weight.huggingface_shape) for one in names)
        return np.stack([weight.from_huggingface(tensor) for tensor in tensors])


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
    folder: str | Path,
    *,
    layers: int | None = None,
    frozen_layers: int = 0,
    dtype: jnp.dtype = jnp.float32,
    shardings: Shardings | None = None,
) -> tuple[RewardModel, tuple[str, ...]]:
    """The model of a Hugging Face folder, of its lowest `layers` where given, and the optional tensors it lacked.

    shardings: where each parameter is to lie (`toolrm_jax.parallel.shardings`); None: whole on the default device.
    Tensors are read one after another, and each goes straight to its place: the host holds one at a time (of
    experts, a layer's). Without a scalar head the model gets one of zeros.
    Raises ModelError for a missing, damaged or differently shaped tensor.
    """
    folder = Path(folder)
    raw = shortened(read_config(folder), layers, str(folder))
    config = TrunkConfig.from_huggingface(raw, str(folder / "config.json"))
    if not 0 <= frozen_layers <= config.num_hidden_layers:
        raise ModelError(f"{folder}: {frozen_layers} layers cannot be frozen, the model has {config.num_hidden_layers}")
    declared, tensors = declarations(config, frozen_layers), Tensors(folder)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = shardings(config) if shardings else dict.fromkeys(declared, here)
    missing, values = [], {}
    for path, (weight, span) in declared.items():
        if span:
            values[path] = _stacked(tensors, weight, span, jnp.dtype(dtype), places[path])
        elif weight.huggingface in OPTIONAL and weight.huggingface not in tensors:
            missing.append(weight.huggingface)
            values[path] = _placed(np.zeros(weight.shape, dtype), places[path])
        else:
            values[path] = _placed(tensors.read(weight).astype(dtype), places[path])
    return with_values(config, frozen_layers, values), tuple(missing)


def with_values(config: TrunkConfig, frozen_layers: int, values: dict[Name, Any]) -> RewardModel:
    """A model of these arrays, by the paths of `declarations`; no others are made."""
    graph, abstract = nnx.split(
        nnx.eval_shape(lambda: RewardModel(config, frozen_layers=frozen_layers, rngs=nnx.Rngs(0)))
    )
    flat = dict(nnx.to_flat_state(abstract))
    assert set(flat) == set(values), set(flat) ^ set(values)
    return nnx.merge(
        graph, nnx.from_flat_state([(path, variable.replace(values[path])) for path, variable in flat.items()])
    )


def _placed(value: np.ndarray, sharding: Sharding) -> jax.Array:
    """The array under its sharding; each process fills what its own devices hold."""
    return jax.make_array_from_callback(value.shape, sharding, lambda part: value[part])


def _stacked(tensors: Tensors, weight: Weight, layers: range, dtype: np.dtype, sharding: Sharding) -> jax.Array:
    """The weight of these layers along a leading axis, written in place one layer after another."""
    of_one = sharding
    if isinstance(sharding, NamedSharding):
        of_one = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    stack = jax.jit(lambda: jnp.zeros((len(layers), *weight.shape), dtype), out_shardings=sharding)()
    write = jax.jit(
        lambda stack, one, index: jax.lax.dynamic_update_index_in_dim(stack, one, index, 0),
        donate_argnums=0,
        out_shardings=sharding,
    )
    for index, layer in enumerate(layers):
        one = _placed(tensors.read(weight, layer).astype(dtype), of_one)
        # Waiting keeps the host at one tensor: writes queued behind a slow device would each hold theirs.
        stack = write(stack, one, index).block_until_ready()
    return stack


def huggingface_tensors(model: RewardModel) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight under its Hugging Face name and layout, in the model's own dtype; one layer on the host at a time.

    Experts are given one by one, the published format that every engine reads.
    """
    state = dict(nnx.to_flat_state(nnx.split(model)[1]))
    for path, (weight, layers) in declarations(model.config, model.trunk.frozen_layers).items():
        value = state[path].get_value()
        for index, layer in enumerate(layers or (0,)):
            one = np.asarray(value[index] if layers else value)
            for expert, tensor in enumerate(one if weight.experts else (one,)):
                yield weight.huggingface.format(layer=layer, expert=expert), weight.to_huggingface(tensor)
