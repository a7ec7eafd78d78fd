"""The settings of a training run. Defaults are paper B's script where it has one (method.md 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import chz
from jax.sharding import Mesh

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.attention_backend import Name as Backend
from toolrm_jax.models.lora import LoraConfig
from toolrm_jax.models.remat import Remat
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig
from toolrm_jax.train.profiling import ProfileConfig

Task = Literal["reward", "sft"]


@chz.chz
class ModelConfig:
    """Where the backbone comes from and how much of it is trained."""

    path: str  # a Hugging Face folder or hub id
    layers: int | None = None  # keep only so many of the lowest layers; None: all
    frozen_layers: int = 0  # lowest layers left as they are, and with them the embedding
    compute_dtype: Literal["float32", "bfloat16"] = "bfloat16"  # on a CPU use float32: it has no faster bfloat16
    attention: Backend = "auto"  # auto: the kernel made for the device
    lora: LoraConfig = chz.field(default_factory=LoraConfig)  # adapters in place of the weights
    remat: Remat = "none"  # what the backward pass makes again: less memory, up to a third more work


@chz.chz
class DataConfig:
    """What is trained on and how it is laid out."""

    train: str  # a folder that `toolrm prepare` wrote
    held_out: str  # likewise, for the accuracy shown during training
    row_length: int = 4096  # tokens of a row
    slots: int = 64  # answers of a row
    rows: int = 8  # rows of a step, over all devices
    epochs: int = 1  # those that were prepared, one after the other; where these are fewer, in turn
    curriculum: int = 1  # stages of the first epoch, from the shortest groups to the longest; 1: all mixed
    held_out_groups: int = 256  # how many of the held-out groups are judged during training


@chz.chz
class TrainConfig:
    """One run: `output` holds its checkpoints, metrics and resolved config."""

    output: str
    model: ModelConfig
    data: DataConfig
    task: Task = "reward"  # sft: a policy, by the next-token loss on each task's right answer
    optimizer: OptimizerConfig = chz.field(default_factory=OptimizerConfig)
    loss: LossWeights = chz.field(default_factory=LossWeights)
    head_fit: HeadFit = chz.field(default_factory=HeadFit)
    mesh: MeshConfig = chz.field(default_factory=MeshConfig)
    profile: ProfileConfig = chz.field(default_factory=ProfileConfig)
    seed: int = 0
    steps: int | None = None  # stop after so many, with the schedule fitted to them; else all epochs
    accumulate: int = 1  # compute a step's rows in so many parts, one after the other: less memory, the same result
    evaluate_every: int = 50  # steps
    save_every: int = 100  # steps
    keep: int = 2  # newest checkpoints kept
    keep_every: int | None = None  # and each whose step this divides
    keep_best: str | None = None  # and the best by this held-out metric, such as correct; saves then measure it
    stall_after: float = 600.0  # seconds without progress after which each host says what it waits for; 0: never
    compile_cache: bool = True  # compiled steps are kept in `output`, so that a restart does not compile again
    wandb: str | None = None  # also log to this Weights & Biases project (needs the package wandb)

    @classmethod
    def of_experiment(cls, found: Any) -> TrainConfig | None:
        """The training of a whole experiment's config, such as a quickstart's; None of anything else."""
        part = getattr(found, "train", None)
        return part if isinstance(part, cls) else None

    @property
    def loss_weights(self) -> LossWeights:
        """What the loss is made of: of a policy, the next-token loss and nothing else but its experts' balance."""
        if self.task == "reward":
            return self.loss
        return LossWeights(ranking=0.0, centring=0.0, next_token=1.0, balance=self.loss.balance)

    @property
    def part_rows(self) -> int:
        """Rows that are computed at once: those of a part of a step, and as many when held-out groups are judged."""
        return self.data.rows // self.accumulate


MAY_CHANGE = (
    "output",
    "mesh",
    "model.attention",
    "model.remat",
    "profile",
    "accumulate",
    "keep",
    "keep_every",
    "keep_best",
    "stall_after",
    "compile_cache",
    "wandb",
)
"""Settings that may differ when a run goes on (by dotted names): where and how it is computed and kept, not what."""


def check(config: TrainConfig) -> None:
    """Raises ConfigError for settings that no model or devices could mend."""
    data = config.data
    positive = {"accumulate": config.accumulate, "evaluate_every": config.evaluate_every}
    positive |= {"save_every": config.save_every, "keep": config.keep, "data.rows": data.rows}
    positive |= {"data.epochs": data.epochs, "data.row_length": data.row_length, "data.slots": data.slots}
    positive |= {"data.curriculum": data.curriculum, "data.held_out_groups": data.held_out_groups}
    for name, value in (positive | {"keep_every": config.keep_every, "steps": config.steps}).items():
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: expected a positive whole number")
    if data.rows % config.accumulate:
        raise ConfigError(f"accumulate={config.accumulate}: data.rows={data.rows} do not divide into so many parts")
    if not config.stall_after >= 0:
        raise ConfigError(f"stall_after={config.stall_after}: expected seconds, or 0 for never")
    config.optimizer.check()
    config.head_fit.check()
    config.loss.check()
    config.model.lora.check()
    if config.task == "sft" and config.loss != LossWeights(balance=config.loss.balance):
        raise ConfigError("task=sft has the next-token loss alone; leave loss.* but loss.balance as they are")
    if config.task == "sft" and config.head_fit.steps:
        raise ConfigError("task=sft has no scalar head to fit; leave head_fit.steps=0")
    config.profile.span()


def run_mesh(config: TrainConfig, devices: Sequence[Any] | None = None, *, stand_for: int = 0) -> Mesh:
    """The mesh of a run on all devices (or those given), on which the rows of each of its parts divide.

    Raises ConfigError, also for other settings. stand_for: see `make_mesh`.
    """
    check(config)
    data = config.data
    return make_mesh(
        config.mesh, data.rows, devices, parts=config.accumulate, length=data.row_length, stand_for=stand_for
    )
