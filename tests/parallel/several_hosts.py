"""Run by test_hosts.py, once per process: a short training run over all processes' CPU devices.

Arguments: the output folder, and the number of CPU devices of this process. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax

FOLDER, DEVICES = sys.argv[1], int(sys.argv[2])
jax.config.update("jax_num_cpu_devices", DEVICES)

import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.models.config import TrunkConfig  # noqa: E402
from toolrm_jax.models.heads import RewardModel  # noqa: E402
from toolrm_jax.parallel import hosts  # noqa: E402
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, rows_of_process  # noqa: E402
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig  # noqa: E402
from toolrm_jax.train.loop import train  # noqa: E402
from toolrm_jax.train.metrics import read_metrics  # noqa: E402
from toolrm_jax.train.optimizer import OptimizerConfig  # noqa: E402

joined = hosts.start()
random = np.random.default_rng(0)


def group(number: int) -> TokenGroup:
    answers = tuple(random.integers(4, 60, 3) for _ in range(3))
    return TokenGroup(str(number), "made", random.integers(4, 60, 6), answers, (True, False, False), ("", "x", "x"))


groups = [group(number) for number in range(48)]
config = TrainConfig(
    output=FOLDER,
    model=ModelConfig(path="", compute_dtype="float32"),
    data=DataConfig(train="", held_out="", row_length=32, slots=8, rows=8, epochs=2, held_out_groups=8),
    optimizer=OptimizerConfig(learning_rate=1e-2),
    mesh=MeshConfig(data=2, fsdp=2, tensor=2),
    steps=3,
    evaluate_every=2,
    save_every=2,
)
shape = TrunkConfig("qwen3", 64, 16, 32, 2, 4, 2, 8, 1e4, 1e-6, 128, True)
model = RewardModel(shape, rngs=nnx.Rngs(0))
assert train(config, model, groups, groups[:8])
# A finished run only loads its end: here, perhaps what other processes saved.
again = RewardModel(shape, rngs=nnx.Rngs(1))
assert train(config, again, groups, groups[:8])
whole = jax.jit(lambda x: x, out_shardings=jax.sharding.NamedSharding(make_mesh(config.mesh, 8), jax.P()))
sums = [float(abs(np.asarray(whole(leaf))).sum()) for leaf in jax.tree.leaves(nnx.split(again)[1])]
kept = ("kind", "step", "loss", "ranking", "tokens", "groups")
records = [[r.get(name) for name in kept] for r in read_metrics(Path(FOLDER))] if hosts.is_first() else []
told = {
    "joined": joined,
    "processes": jax.process_count(),
    "devices": [jax.local_device_count(), jax.device_count()],
    "mine": rows_of_process(make_mesh(config.mesh, 8), 8),
    "any": [hosts.any_process(jax.process_index() == 1), hosts.any_process(False)],
    "records": records,
    "sums": sums,
}
print("TOLD " + json.dumps(told))
