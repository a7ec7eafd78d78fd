"""Bytes that a step needs at least on each device: what `toolrm plan search` need not compile to refuse."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax.numpy as jnp
from jax.sharding import AbstractMesh

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.parallel.rules import AXES, row_parts
from toolrm_jax.parallel.shardings import bytes_per_device
from toolrm_jax.train.abstract import AbstractRun, state_bytes
from toolrm_jax.train.ahead import Step
from toolrm_jax.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Floor:
    """The floors of a run's step on any mesh. They leave out what a compiler may yet find a way to do without."""

    shape: TrunkConfig
    run: AbstractRun
    train: bool

    @classmethod
    def of(cls, config: TrainConfig, shape: TrunkConfig, step: Step = "train") -> Floor:
        """Those of a run's step. Raises ConfigError for settings that such a backbone cannot have."""
        return cls(shape, AbstractRun.of(config, shape), step == "train")

    def bytes(self, config: TrainConfig, sizes: dict[str, int]) -> float:
        """That of the config's rows and remat policy: of the state, and of what each trained layer keeps."""
        held = _held(self.run, self.train, tuple(sizes[axis] for axis in AXES))
        return held + self._kept(config, sizes) if self.train else held

    def _kept(self, train: TrainConfig, sizes: dict[str, int]) -> float:
        """What is kept for the backward pass: of the rows computed at once, in the layers that are trained."""
        shape = self.shape
        hidden, tensor = shape.hidden_size, sizes["tensor"]
        heads = shape.num_attention_heads * shape.head_dim / tensor
        keys = 2 * shape.num_key_value_heads * shape.head_dim / tensor
        mlp = (shape.moe_intermediate_size * shape.num_experts_per_tok or shape.intermediate_size) / tensor
        # Where the weights themselves are trained, so is the input of each: of attention and MLP after their norms, and
        # of the last product of the MLP.
        inputs = 0 if train.model.lora.rank else 2 * hidden + mlp
        kept = {"attention": hidden + heads, "none": 2 * hidden + 2 * heads + keys + 2 * mlp + inputs}
        tokens = train.part_rows / row_parts(sizes) * train.data.row_length / sizes["context"]
        layers = shape.num_hidden_layers - train.model.frozen_layers
        return jnp.dtype(train.model.compute_dtype).itemsize * tokens * layers * kept.get(train.model.remat, hidden)


@functools.lru_cache(maxsize=256)
def _held(run: AbstractRun, train: bool, sizes: tuple[int, ...]) -> int:
    """Bytes of parameters and, of a training step, of optimiser and gradients, which stand side by side."""
    _, state, frozen = run.on(AbstractMesh(sizes, AXES))
    parameters, optimizer = state_bytes(state, frozen)
    return parameters + (optimizer + bytes_per_device(state.params) if train else 0)
