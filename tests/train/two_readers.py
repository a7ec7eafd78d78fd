"""Run by test_checkpoints.py, once per process: the parts that the second process wrote of a checkpoint are lost.

Argument: the folder of the checkpoints. Prints the step that was restored, and what was said.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolrm_jax.parallel import hosts
from toolrm_jax.train.checkpoints import Checkpoints
from toolrm_jax.train.layout import TrainState

FOLDER = Path(sys.argv[1])

hosts.start()
MESH = Mesh(np.array(jax.devices()), ("rows",))


def spread(values: np.ndarray, *axes: str) -> jax.Array:
    return jax.make_array_from_callback(values.shape, NamedSharding(MESH, PartitionSpec(*axes)), lambda at: values[at])


def state(step: int) -> tuple[TrainState, nnx.State]:
    draw = np.random.default_rng(step)
    kernel, moment = (spread(draw.normal(size=(64, 40)).astype(np.float32), "rows") for _ in range(2))
    params = nnx.State({"kernel": nnx.Param(kernel)})
    return TrainState(params, (moment,), spread(np.array(step, np.int32))), nnx.State({})


with hosts.failing_for_all():
    checkpoints = Checkpoints(FOLDER, keep=2)
    for step in (1, 2):
        checkpoints.save(*state(step), {}, {})
    checkpoints.wait()
    if hosts.is_first():
        for file in (FOLDER / "2" / "arrays" / "ocdbt.process_1" / "d").iterdir():
            file.write_bytes(b"")
    hosts.first_then_all(lambda: None)
    said: list[str] = []
    found = checkpoints.newest(lambda step: checkpoints.restore(step, *state(9)), said.append, set_aside=True)
    for a, b in zip(*map(jax.tree.leaves, (found[:2], state(1))), strict=True):
        np.testing.assert_array_equal(a.addressable_data(0), b.addressable_data(0))
    print(*said)
    checkpoints.close()
