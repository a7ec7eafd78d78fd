"""Rows spread over devices: the same loss and gradients as on one. Run apart, since JAX fixes its devices once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
import json, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from flax import nnx
from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.parallel.mesh import data_mesh, replicate, spread
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.step import loss_sums, split, total_loss

random = np.random.default_rng(0)
def group(i):
    answers = tuple(random.integers(1, 50, 3) for _ in range(3))
    return TokenGroup(str(i), "made", random.integers(1, 50, 5), answers, (True, False, False), ("", "", ""))
rows = stack([lay_out([group(i) for i in range(1 + row % 2)], 32, 8) for row in range(4)])
model = RewardModel(TrunkConfig("llama", 50, 16, 24, 2, 2, 1, 8, 1e4, 1e-6, 64, True), rngs=nnx.Rngs(0))
model.score[...] = jax.random.normal(jax.random.key(1), (16, 1))
graph, params, frozen = split(model)
weights = LossWeights(token_error=0.5, next_token=0.5)
def loss(params, frozen, rows):
    return total_loss(loss_sums(nnx.merge(graph, params, frozen), rows, weights, np.float32), weights)
found = []
for devices in (1, 2, 4):
    mesh = data_mesh(devices)
    value, grads = jax.jit(jax.value_and_grad(loss))(*replicate(mesh, (params, frozen)), spread(mesh, rows))
    found.append((float(value), [float(abs(g).sum()) for g in jax.tree.leaves(grads)]))
sizes = [data_mesh(n).size for n in (1, 2, 3, 4, 6, 7)]
print(json.dumps({"sizes": sizes, "found": found}))
"""


def test_loss_and_gradients_do_not_depend_on_the_number_of_devices():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["sizes"] == [1, 2, 3, 4, 3, 1], "as many devices as the rows divide over, of four"
    (loss, gradients), *others = told["found"]
    assert loss > 0.5
    for other, theirs in others:
        assert abs(other - loss) <= 1e-5 * loss
        assert all(abs(a - b) <= 1e-4 * max(a, 1e-3) for a, b in zip(gradients, theirs, strict=True))
