"""What a training step changes, and where it lies on the mesh: the optimiser's moments beside their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.parallel.rules import Placed
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
        shardings = weight_shardings(config, frozen_layers, mesh)
        whole = NamedSharding(mesh, PartitionSpec())
        trained = state_shardings(params, shardings)
        moments = like_params(jax.eval_shape(optimizer.init, params), params, trained, whole)
        return cls(mesh, TrainState(trained, moments, whole), state_shardings(frozen, shardings))

    @property
    def placed(self) -> Placed:
        """What the model needs to lay out its activations."""
        return Placed(self.mesh)

    @property
    def whole(self) -> NamedSharding:
        """Every device holds all of it."""
        return NamedSharding(self.mesh, PartitionSpec())

    def first_state(
        self, params: nnx.State, frozen: nnx.State, optimizer: optax.GradientTransformation
    ) -> tuple[TrainState, nnx.State]:
        """The state before the first step, from parameters on one device or, in every process, on its host."""
        params, frozen = (place(values, to) for values, to in ((params, self.state.params), (frozen, self.frozen)))
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


def place(values: Any, shardings: Any) -> Any:
    """Values on the mesh; those that lie there already stay."""
    if jax.process_count() == 1:
        return jax.device_put(values, shardings)
    move = lambda value, to: value if getattr(value, "sharding", None) == to else put(np.asarray(value), to)  # noqa: E731
    return jax.tree.map(move, values, shardings)
