"""What a training step changes, and where it lies on the mesh: the optimiser's moments beside their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import Path
from toolrm_jax.models.lora import is_adapter
from toolrm_jax.parallel.rules import Placed, partition_spec
from toolrm_jax.parallel.shardings import like_params, put, state_shardings, weight_shardings


@struct.dataclass
class TrainState:
    """What a step changes: the trained parameters, the optimiser's state, and the number of steps done."""

    params: nnx.State
    optimizer: Any
    step: jax.Array


@dataclass(frozen=True, slots=True)
class Layout:
    """Shardings on a mesh: `state` and `frozen` are shaped like the train state and the frozen parameters."""

    mesh: Mesh
    state: TrainState
    frozen: nnx.State

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        config: TrunkConfig,
        frozen_layers: int,
        params: nnx.State,
        frozen: nnx.State,
        optimizer: optax.GradientTransformation,
    ) -> Layout:
        """The layout of a model's (abstract) parameters. Raises ConfigError where a weight does not divide."""
        shardings = weight_shardings(config, frozen_layers, mesh) | adapter_shardings(params, mesh)
        whole = NamedSharding(mesh, PartitionSpec())
        trained = state_shardings(params, shardings)
        shapes = jax.eval_shape(optimizer.init, params)
        moments = jax.tree.map(where_it_divides, like_params(shapes, params, trained, whole), shapes)
        return cls(mesh, TrainState(trained, moments, whole), state_shardings(frozen, shardings))

    @property
    def placed(self) -> Placed:
        """What the model needs to lay out its activations."""
        return Placed(self.mesh)

    @property
    def whole(self) -> NamedSharding:
        """Every device holds all of it."""
        return NamedSharding(self.mesh, PartitionSpec())

    def on_mesh(self, params: nnx.State, frozen: nnx.State) -> tuple[nnx.State, nnx.State]:
        """Parameters on their devices, from one device or, in every process, from its host."""
        return place(params, self.state.params), place(frozen, self.frozen)

    def first_state(
        self, params: nnx.State, frozen: nnx.State, optimizer: optax.GradientTransformation
    ) -> tuple[TrainState, nnx.State]:
        """The state before the first step, of these parameters: a running mean of the weights begins with them."""
        params, frozen = self.on_mesh(params, frozen)
        moments = jax.jit(optimizer.init, out_shardings=self.state.optimizer)(params)
        step = jax.jit(lambda: jnp.zeros((), jnp.int32), out_shardings=self.whole)()
        return TrainState(params, moments, step), frozen

    def abstract(
        self, params: nnx.State, frozen: nnx.State, optimizer: optax.GradientTransformation
    ) -> tuple[TrainState, nnx.State]:
        """The same as shapes alone, to compile for or to restore into: nothing is allocated."""
        state = TrainState(params, jax.eval_shape(optimizer.init, params), jax.ShapeDtypeStruct((), jnp.int32))
        shaped = lambda leaf, to: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to)  # noqa: E731
        return jax.tree.map(shaped, (state, frozen), (self.state, self.frozen))


def adapter_shardings(params: nnx.State, mesh: Mesh) -> dict[Path, NamedSharding]:
    """The sharding of every adapter among the trained parameters: that of its weight, and whole along its rank."""
    return {
        path: NamedSharding(mesh, partition_spec(variable.get_metadata("out_sharding")))
        for path, variable in nnx.to_flat_state(params)
        if is_adapter(path)
    }


def where_it_divides(sharding: NamedSharding, shape: jax.ShapeDtypeStruct) -> NamedSharding:
    """The sharding, but whole along axes that it does not divide: those over which a moment is a mean are one long."""
    sizes = [_parts(sharding.mesh, axes) for axes in sharding.spec]
    if all(length % parts == 0 for length, parts in zip(shape.shape, sizes)):
        return sharding
    kept = (axes if length % parts == 0 else None for axes, length, parts in zip(sharding.spec, shape.shape, sizes))
    return NamedSharding(sharding.mesh, PartitionSpec(*kept))


def _parts(mesh: Mesh, axes: str | tuple[str, ...] | None) -> int:
    names = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[name] for name in names)


def place(values: Any, shardings: Any) -> Any:
    """Values on the mesh; those that lie there already stay."""
    if jax.process_count() == 1:
        return jax.device_put(values, shardings)
    move = lambda value, to: value if getattr(value, "sharding", None) == to else put(np.asarray(value), to)  # noqa: E731
    return jax.tree.map(move, values, shardings)
