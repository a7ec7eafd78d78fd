"""Training speed of the quickstart's model beside what this machine's matrix products allow.

Prints tokens/s of a training step (SmolLM2-135M cut, frozen and laid out as configs/quickstart.py has it, float32,
random weights and tokens), the FLOPs it needs, the FLOP/s of a large matrix product measured between the steps, and
the share of one in the other. Medians over alternating runs, since machines are shared: quote the share.
"""

from __future__ import annotations

import statistics
import time

from toolrm_jax.parallel.mesh import make_mesh, spread, use_all_cores

use_all_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from toolrm_jax.configs import quickstart  # noqa: E402
from toolrm_jax.data.dataset import RowSource, batches  # noqa: E402
from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.models.attention_backend import backend_name, choose_backend  # noqa: E402
from toolrm_jax.models.config import TrunkConfig  # noqa: E402
from toolrm_jax.models.heads import RewardModel  # noqa: E402
from toolrm_jax.train.layout import Layout  # noqa: E402
from toolrm_jax.train.optimizer import make_optimizer  # noqa: E402
from toolrm_jax.train.step import make_train_step, split  # noqa: E402

RUN = quickstart.config().train
SHAPE = TrunkConfig("llama", 49152, 576, 1536, RUN.model.layers, 9, 3, 64, 1e5, 1e-5, 8192, True)
FROZEN, LENGTH, ROWS, REPEATS = RUN.model.frozen_layers, RUN.data.row_length, RUN.data.rows, 7


def step_flops(config: TrunkConfig, frozen: int, tokens: int) -> float:
    """Multiply-adds of the layers' matrices counted as two: 2 per weight forward, 4 more where it is trained.

    Attention scores (about a tenth at this row length), norms and the optimiser are left out.
    """
    hidden, mlp = config.hidden_size, config.intermediate_size
    heads = (2 * config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
    layer = hidden * heads + 3 * hidden * mlp
    return 2.0 * tokens * layer * (config.num_hidden_layers + 2 * (config.num_hidden_layers - frozen))


def made_groups() -> list[TokenGroup]:
    random = np.random.default_rng(0)
    return [
        TokenGroup(
            str(number),
            "made",
            random.integers(1, 49000, 480),
            tuple(random.integers(1, 49000, 60) for _ in range(8)),
            (True,) + (False,) * 7,
            ("",) * 8,
        )
        for number in range(4 * ROWS)
    ]


def main() -> None:
    mesh = make_mesh(RUN.mesh, ROWS)
    model = RewardModel(SHAPE, frozen_layers=FROZEN, rngs=nnx.Rngs(0))
    graph, *values = split(model)
    optimizer = make_optimizer(RUN.optimizer, RUN.steps)
    layout = Layout.of(mesh, SHAPE, FROZEN, *values, optimizer)
    state, frozen = layout.first_state(*values, optimizer)
    backend = choose_backend(RUN.model.attention)
    step = make_train_step(graph, optimizer, RUN.loss, jnp.float32, RUN.model.remat, layout, backend)
    rows = spread(mesh, next(iter(batches(RowSource(made_groups(), LENGTH, RUN.data.slots, ROWS, 1, 0), ROWS))))
    size = 2048
    matrix = jnp.ones((size, size))
    product = jax.jit(lambda a, b: a @ b)

    box = [state]

    def train() -> None:
        box[0], metrics = step(box[0], frozen, rows)
        jax.block_until_ready(metrics)

    def multiply() -> None:
        for _ in range(20):
            product(matrix, matrix).block_until_ready()

    seconds: dict[str, list[float]] = {"train": [], "multiply": []}
    train(), multiply()
    for _ in range(REPEATS):
        for name, action in (("train", train), ("multiply", multiply)):
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    tokens = LENGTH * ROWS
    per_step, limit = statistics.median(seconds["train"]), 20 * 2 * size**3 / statistics.median(seconds["multiply"])
    needed = step_flops(SHAPE, FROZEN, tokens)
    shares = [needed / a / (20 * 2 * size**3 / b) for a, b in zip(seconds["train"], seconds["multiply"])]
    print(f"devices: {mesh.size} x {jax.default_backend()}, {tokens} tokens a step, attention: {backend_name(backend)}")
    print(f"training step:  {per_step:.2f} s, {tokens / per_step:.0f} tokens/s, {needed / per_step / 1e9:.0f} GFLOP/s")
    print(f"matrix product: {limit / 1e9:.0f} GFLOP/s ({size} x {size}, float32)")
    print(f"share of the limit: {statistics.median(shares):.0%} (median of {REPEATS} alternating pairs)")


if __name__ == "__main__":
    main()
