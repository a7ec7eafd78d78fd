"""A step's rows in parts: the same losses, whatever the number of parts and whatever the mesh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import LoraConfig, with_adapters
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, spread
from toolrm_jax.train.layout import Layout
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig, make_optimizer
from toolrm_jax.train.step import make_train_step, split

SHAPE = TrunkConfig("qwen3", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, True)
ROWS, LENGTH, STEPS = 32, 32, 6
WEIGHTS = LossWeights(token_error=0.5, next_token=0.5)


def rows(step: int):
    """Rows that are unlike: some hold one group, some three, some groups without a wrong answer, some nothing."""
    draw = np.random.default_rng(step)

    def group(number: int) -> TokenGroup:
        answers = tuple(draw.integers(4, 60, draw.integers(1, 4)) for _ in range(3))
        right = (True, False, False) if number % 3 else (True, True, True)
        return TokenGroup(str(number), "made", draw.integers(4, 60, 2), answers, right, ("",) * 3)

    return stack([lay_out([group(n) for n in range(row % 4 * (row % 5 > 0))], LENGTH + 8, 12) for row in range(ROWS)])


def curve(parts: int, mesh_config: MeshConfig, steps: int = STEPS, rank: int = 0, **moments: str) -> list[float]:
    """The loss of each step, from the same weights and rows; with adapters of that rank."""
    mesh = make_mesh(mesh_config, ROWS // parts)
    model = with_adapters(RewardModel(SHAPE, rngs=nnx.Rngs(0)), LoraConfig(rank=rank))
    graph, params, frozen = split(model)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, head_multiplier=10.0, **moments), 10)
    layout = Layout.of(mesh, SHAPE, 0, params, frozen, optimizer)
    state, frozen = layout.first_state(params, frozen, optimizer)
    step = make_train_step(graph, optimizer, WEIGHTS, jnp.float32, "none", layout, accumulate=parts)
    losses = []
    for number in range(steps):
        state, metrics = step(state, frozen, spread(mesh, rows(number)))
        losses.append(float(metrics["loss"]))
    return losses


def test_four_parts_give_the_losses_of_one():
    whole, parts = curve(1, MeshConfig(), steps=3), curve(4, MeshConfig(), steps=3)
    assert whole == pytest.approx(parts, abs=1e-5)
    assert len(set(whole)) == 3


@pytest.mark.slow
def test_one_two_and_four_parts_on_two_meshes_give_one_curve():
    root = Path(__file__).parents[2]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.train.curves"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("TOLD "))[5:])
    assert len(told) == 3
    assert all(len(curves) >= 2 and len(curves[0]) == STEPS for curves in told.values())
    for first, *others in told.values():
        for other in others:
            assert other == pytest.approx(first, abs=1e-5)
    whole, adapters, factored = (curves[0] for curves in told.values())
    assert len({whole[-1], adapters[-1], factored[-1]}) == 3
