"""A run's model and optimiser as shapes alone: what is trained, and what it takes on a mesh. Nothing is allocated."""

from __future__ import annotations

from dataclasses import dataclass

import optax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import with_adapters
from toolrm_jax.parallel.shardings import bytes_per_device
from toolrm_jax.train.config import TrainConfig
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.optimizer import make_optimizer
from toolrm_jax.train.step import split


@dataclass(frozen=True, slots=True, eq=False)
class AbstractRun:
    """The model of a run, split as `train.step.split` does, and its optimiser."""

    shape: TrunkConfig
    frozen_layers: int
    graph: nnx.GraphDef
    params: nnx.State
    frozen: nnx.State
    optimizer: optax.GradientTransformation

    @classmethod
    def of(cls, config: TrainConfig, shape: TrunkConfig) -> AbstractRun:
        """That of a config, for a backbone of that shape. Raises ConfigError for what such a backbone has not."""
        frozen_layers, layers = config.model.frozen_layers, shape.num_hidden_layers
        if not 0 <= frozen_layers <= layers:
            raise ConfigError(
                f"model.frozen_layers={frozen_layers}: the model has {layers} layers; "
                f"the nearest that works is model.frozen_layers={min(max(frozen_layers, 0), layers)}"
            )
        fresh = lambda: RewardModel(shape, frozen_layers=frozen_layers, rngs=nnx.Rngs(0))  # noqa: E731
        parts = split(nnx.eval_shape(lambda: with_adapters(fresh(), config.model.lora)), config.task)
        return cls(shape, frozen_layers, *parts, make_optimizer(config.optimizer, config.steps or 1000))

    def on(self, mesh: Mesh | AbstractMesh) -> tuple[Layout, TrainState, nnx.State]:
        """Where everything lies, the state before the first step, and the frozen parameters.

        Raises ConfigError where a weight does not divide over the mesh.
        """
        layout = Layout.of(mesh, self.shape, self.frozen_layers, self.params, self.frozen, self.optimizer)  # type: ignore[arg-type]
        return layout, *layout.abstract(self.params, self.frozen, self.optimizer)


def state_bytes(state: TrainState, frozen: nnx.State) -> tuple[int, int]:
    """Bytes that one device holds of all parameters, and of the optimiser."""
    return bytes_per_device((state.params, frozen)), bytes_per_device(state.optimizer)
