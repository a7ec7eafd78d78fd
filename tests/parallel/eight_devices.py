"""Run by test_devices.py in a process of its own with eight CPU devices: one training step on many meshes.

Prints one JSON object: for each case the loss, how far each gradient is from that of one device, and what is cut.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import nnx  # noqa: E402

from toolrm_jax.data.rows import Rows, lay_out, stack  # noqa: E402
from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.models.attention_backend import choose_backend  # noqa: E402
from toolrm_jax.models.config import TrunkConfig  # noqa: E402
from toolrm_jax.models.heads import RewardModel  # noqa: E402
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, spread  # noqa: E402
from toolrm_jax.parallel.shardings import bytes_per_device  # noqa: E402
from toolrm_jax.train.checkpoints import Checkpoints  # noqa: E402
from toolrm_jax.train.layout import Layout  # noqa: E402
from toolrm_jax.train.loss import LossWeights  # noqa: E402
from toolrm_jax.train.optimizer import OptimizerConfig, make_optimizer  # noqa: E402
from toolrm_jax.train.step import make_train_step, split  # noqa: E402

DENSE = TrunkConfig("qwen3", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, False)
BIASED = TrunkConfig("qwen2", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, True)
EXPERTS = TrunkConfig(
    *("qwen3_moe", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, False),
    num_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    norm_topk_prob=True,
)
WEIGHTS = LossWeights(token_error=0.5, next_token=0.5)
ROWS, LENGTH = 8, 64
# name -> model, mesh, frozen layers, remat; those of FLASH with the kernel that a run on a CPU uses, the others with
# the reference
CASES = {
    "data 8": (DENSE, {"data": 8}, 0, "none"),
    "data 4, fsdp 2": (DENSE, {"data": 4, "fsdp": 2}, 0, "none"),
    "data 2, fsdp 4": (DENSE, {"data": 2, "fsdp": 4}, 0, "full"),
    "fsdp 8": (DENSE, {"data": 1, "fsdp": 8}, 0, "attention"),
    "data 4, tensor 2": (BIASED, {"data": 4, "tensor": 2}, 0, "none"),
    "data 2, context 4": (DENSE, {"data": 2, "context": 4}, 0, "none"),
    "fsdp 2, tensor 2, context 2": (BIASED, {"data": 1, "fsdp": 2, "tensor": 2, "context": 2}, 1, "full"),
    "expert 8": (EXPERTS, {"data": 1, "expert": 8}, 0, "none"),
    "fsdp 2, expert 4": (EXPERTS, {"data": 1, "fsdp": 2, "expert": 4}, 0, "full"),
    "fsdp 2, context 4": (BIASED, {"data": 1, "fsdp": 2, "context": 4}, 0, "attention"),
    "tensor 2, expert 2, context 2": (EXPERTS, {"data": 1, "tensor": 2, "expert": 2, "context": 2}, 0, "none"),
}
FLASH = ("fsdp 2, context 4", "fsdp 8")


def rows() -> Rows:
    """Rows of one to three groups, of which the last have most padding."""
    random = np.random.default_rng(0)

    def group(number: int) -> TokenGroup:
        answers = tuple(random.integers(1, 60, 3) for _ in range(3))
        return TokenGroup(str(number), "made", random.integers(1, 60, 9), answers, (True, False, False), ("",) * 3)

    return stack([lay_out([group(i) for i in range(1 + row % 3)], LENGTH, 12) for row in range(ROWS)])


def model(shape: TrunkConfig, frozen: int) -> RewardModel:
    made = RewardModel(shape, frozen_layers=frozen, rngs=nnx.Rngs(0))
    made.score[...] = jax.random.normal(jax.random.key(1), (shape.hidden_size, 1))
    return made


def stepped(shape, frozen, remat, mesh, backend=None):
    """A step from the same weights on a mesh: the layout, what it gave, and the gradients.

    The gradients are read off Adam's first moment, which after one step (without clipping) is a tenth of them.
    """
    graph, params, rest = split(model(shape, frozen))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3, clip=1e9), 10)
    layout = Layout.of(mesh, shape, frozen, params, rest, optimizer)
    state, rest = layout.first_state(params, rest, optimizer)
    step = make_train_step(graph, optimizer, WEIGHTS, jnp.float32, remat, layout, backend)
    after, metrics = step(state, rest, spread(mesh, rows()))
    return layout, after, metrics, [np.asarray(leaf) for leaf in jax.tree.leaves(optax.tree.get(after.optimizer, "mu"))]


@functools.cache
def alone(shape, frozen):
    """Loss and gradients on one device."""
    _, _, metrics, gradients = stepped(shape, frozen, "none", make_mesh(MeshConfig(), ROWS, jax.devices()[:1]))
    return float(metrics["loss"]), gradients


def run_case(shape, sizes, frozen, remat, backend=None) -> dict:
    expected, gradients = alone(shape, frozen)
    mesh = make_mesh(MeshConfig(**sizes), ROWS)
    layout, after, metrics, found = stepped(shape, frozen, remat, mesh, backend)
    kept = jax.tree.map(lambda leaf, to: leaf.sharding.is_equivalent_to(to, leaf.ndim), after, layout.state)
    return {
        "sizes": dict(mesh.shape),
        "loss": [expected, float(metrics["loss"])],
        "far": max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, gradients, strict=True)),
        "kept": all(jax.tree.leaves(kept)),
        "bytes": [bytes_per_device(after.params), bytes_per_device(after.optimizer)],
        "whole_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(after.params)),
    }


def restored_elsewhere() -> dict:
    """A state saved on one mesh and restored on another, and a step taken on each from there."""
    graph, params, rest = split(model(DENSE, 1))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2), 10)
    batch, steps, out = rows(), {}, {}
    for name, sizes in {
        "saved": {"data": 2, "fsdp": 4},
        "read": {"data": 1, "fsdp": 2, "tensor": 2, "context": 2},
    }.items():
        mesh = make_mesh(MeshConfig(**sizes), ROWS)
        layout = Layout.of(mesh, DENSE, 1, params, rest, optimizer)
        steps[name] = mesh, layout, make_train_step(graph, optimizer, WEIGHTS, jnp.float32, "none", layout)
    with tempfile.TemporaryDirectory() as folder:
        mesh, layout, step = steps["saved"]
        state, frozen = layout.first_state(params, rest, optimizer)
        for _ in range(2):
            state, _ = step(state, frozen, spread(mesh, batch))
        checkpoints = Checkpoints(Path(folder), keep=1)
        checkpoints.save(state, frozen, {"at": 2}, {})
        checkpoints.close()
        state, metrics = step(state, frozen, spread(mesh, batch))
        out["saved"] = float(metrics["loss"]), float(metrics["gradient_norm"])
        mesh, layout, step = steps["read"]
        checkpoints = Checkpoints(Path(folder), keep=1)
        found, frozen, position = checkpoints.restore(2, *layout.abstract(params, rest, optimizer))
        checkpoints.close()
        lies = jax.tree.map(lambda leaf, to: leaf.sharding.is_equivalent_to(to, leaf.ndim), found, layout.state)
        out["lies"] = all(jax.tree.leaves(lies))
        found, metrics = step(found, frozen, spread(mesh, batch))
        out["read"] = float(metrics["loss"]), float(metrics["gradient_norm"])
        out["far"] = max(
            float(np.abs(np.asarray(a) - np.asarray(b)).max())
            for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(found.params))
        )
        out["position"], out["step"] = position, int(found.step)
    return out


if __name__ == "__main__":
    asked = sys.argv[1:] or list(CASES)
    told = {
        "cases": {
            name: run_case(*CASES[name], choose_backend() if name in FLASH else None) for name in asked if name in CASES
        }
    }
    if "restored" in asked:
        told["restored"] = restored_elsewhere()
    print(json.dumps(told))
