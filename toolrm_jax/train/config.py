"""The settings of a training run. Defaults are paper B's script where it has one (method.md 3.5)."""

from __future__ import annotations

from typing import Literal

import chz

from toolrm_jax.models.attention_backend import Name as Backend
from toolrm_jax.models.remat import Remat
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig


@chz.chz
class ModelConfig:
    """Where the backbone comes from and how much of it is trained."""

    path: str  # a Hugging Face folder or hub id
    layers: int | None = None  # keep only so many of the lowest layers; None: all
    frozen_layers: int = 0  # lowest layers left as they are, and with them the embedding
    compute_dtype: Literal["float32", "bfloat16"] = "bfloat16"  # on a CPU use float32: it has no faster bfloat16
    attention: Backend = "auto"  # auto: the kernel made for the accelerator; on a CPU plain XLA
    remat: Remat = "none"  # what the backward pass makes again: less memory, up to a third more work


@chz.chz
class DataConfig:
    """What is trained on and how it is laid out."""

    train: str  # a folder that `toolrm prepare` wrote
    held_out: str  # likewise, for the accuracy shown during training
    row_length: int = 4096  # tokens of a row
    slots: int = 64  # answers of a row
    rows: int = 8  # rows of a step, over all devices
    epochs: int = 1
    held_out_groups: int = 256  # how many of the held-out groups are judged during training


@chz.chz
class TrainConfig:
    """One run: `output` holds its checkpoints, metrics and resolved config."""

    output: str
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig = chz.field(default_factory=OptimizerConfig)
    loss: LossWeights = chz.field(default_factory=LossWeights)
    head_fit: HeadFit = chz.field(default_factory=HeadFit)
    mesh: MeshConfig = chz.field(default_factory=MeshConfig)
    seed: int = 0
    steps: int | None = None  # stop after so many, with the schedule fitted to them; else all epochs
    evaluate_every: int = 50  # steps
    save_every: int = 100  # steps
    keep: int = 2  # newest checkpoints kept
