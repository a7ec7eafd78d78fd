"""Run by test_survival.py: one process of one start of a training run, which may be killed on purpose.

Takes a JSON object: `folder`, and as far as they are not usual `settings`, `mesh`, `devices` (of this process) and
`dry` (the process whose loader fails from a batch on).
Other processes are found through the environment. Exit code as that of `toolrm train`.
"""

from __future__ import annotations

import json
import os
import sys

import chz
import jax
import numpy as np
from flax import nnx

from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.rows import Rows
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ToolrmError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.parallel import hosts
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig
from toolrm_jax.train.signals import STOPPED

SHAPE = TrunkConfig("qwen3", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, True)


def groups(count: int) -> list[TokenGroup]:
    draw = np.random.default_rng(0)

    def group(number: int) -> TokenGroup:
        answers = tuple(draw.integers(4, 60, draw.integers(2, 5)) for _ in range(3))
        context = draw.integers(4, 60, draw.integers(4, 9))
        return TokenGroup(str(number), f"source {number % 2}", context, answers, (True, False, False), ("", "a", "b"))

    return [group(number) for number in range(count)]


def config(folder: str, settings: dict, mesh: dict) -> TrainConfig:
    base = TrainConfig(
        output=folder,
        model=ModelConfig(path="", compute_dtype="float32"),
        data=DataConfig(train="", held_out="", row_length=32, slots=8, rows=8, epochs=20, held_out_groups=12),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        loss=LossWeights(token_error=0.3, next_token=0.2),
        mesh=MeshConfig(**mesh),
        steps=60,
        evaluate_every=10,
        save_every=3,
        keep=3,
    )
    if "optimizer" in settings:
        settings = settings | {"optimizer": chz.replace(base.optimizer, **settings["optimizer"])}
    return chz.replace(base, **settings)


def run_dry(row: int) -> None:
    """From this row on no row can be read."""
    read = RowSource.__getitem__

    def fails(source: RowSource, index: int) -> Rows:
        if index >= row:
            raise OSError("the disk is gone")
        return read(source, index)

    RowSource.__getitem__ = fails


def main(leg: dict) -> int:
    jax.config.update("jax_num_cpu_devices", leg.get("devices", 1))
    jax.config.update("jax_compilation_cache_dir", os.environ["SURVIVOR_COMPILED"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    hosts.start()
    made = groups(200)
    if (dry := leg.get("dry")) and jax.process_index() == dry["process"]:
        run_dry(dry["batch"] * 8)
    run = config(leg["folder"], leg.get("settings", {}), leg.get("mesh", {}))
    try:
        with hosts.failing_for_all():
            return 0 if train(run, RewardModel(SHAPE, rngs=nnx.Rngs(0)), made, made[:24]) else STOPPED
    except ToolrmError as error:
        print(f"toolrm: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
