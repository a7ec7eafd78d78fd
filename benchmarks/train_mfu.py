"""Model FLOPs utilisation of a training step on the accelerators of this machine: prints a Markdown table.

    python benchmarks/train_mfu.py
    python benchmarks/train_mfu.py --models Qwen3-8B --length 16384 --rows 1 --remat full --attention xla
    JAX_PLATFORMS=cpu python benchmarks/train_mfu.py --tiny --peak 0.1      (the script itself, at toy sizes)

Useful FLOPs are those of matrices, of scores and of weighted values over the keys that a token sees, forward and twice
that backward; recomputation, padding and what the mask hides are not counted, a causal pair once. Rows hold groups of a
context and 4 answers, bfloat16 compute and parameters, Adam. The peak is the dense bfloat16 figure of the data sheet.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from toolrm_jax.data.rows import Rows, lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ToolrmError
from toolrm_jax.models.attention_backend import backend_name, choose_backend, self_check
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import flops_per_token
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.presets import preset
from toolrm_jax.parallel.mesh import data_mesh, replicate, spread
from toolrm_jax.train.layout import TrainState
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig, make_optimizer
from toolrm_jax.train.step import make_train_step, split

# Dense bfloat16 TFLOP/s of one device, by a part of its name; from the makers' data sheets.
PEAKS = {
    "H200": 989, "H100": 989, "A100": 312, "L4": 121, "B200": 2250,
    "TPU v4": 275, "TPU v5 lite": 197, "TPU v5e": 197, "TPU v5p": 459, "TPU v5": 459, "TPU v6": 918, "TPU7x": 2307,
}  # fmt: skip


def peak_of(device: jax.Device, said: float | None) -> float:
    """FLOP/s of one device. Raises ToolrmError where its name is not known and none was said."""
    if said:
        return said * 1e12
    found = next((peak for name, peak in PEAKS.items() if name.lower() in device.device_kind.lower()), None)
    if found is None:
        raise ToolrmError(f"no peak is known for {device.device_kind!r}; give --peak TFLOPS, bfloat16 without sparsity")
    return found * 1e12


def made_rows(config: TrunkConfig, rows: int, length: int, groups: int) -> Rows:
    """Rows filled by `groups` groups each: a context of five eighths and four answers of the rest."""
    random = np.random.default_rng(0)
    size = length // groups
    answer = size * 3 // 8 // 4
    draw = lambda count: random.integers(1, config.vocab_size, count)  # noqa: E731

    def group(number: int) -> TokenGroup:
        answers = tuple(draw(answer) for _ in range(4))
        return TokenGroup(str(number), "made", draw(size - 4 * answer), answers, (True, False, False, False), ("",) * 4)

    return stack([lay_out([group(n) for n in range(groups)], length, 4 * groups) for _ in range(rows)])


def keys_seen(rows: Rows) -> float:
    """Keys that a token sees on the mean: its position in its own sequence, and itself."""
    return float((rows.positions[rows.group > 0] + 1).mean())


def measure(name: str, config: TrunkConfig, options: argparse.Namespace) -> str:
    """One line of the table."""
    devices = jax.device_count()
    mesh = data_mesh(options.rows * devices)
    backend = choose_backend(options.attention)
    print(self_check(backend, config.num_attention_heads, config.num_key_value_heads, config.head_dim, jnp.bfloat16))
    model = jax.jit(lambda: as_bfloat16(RewardModel(config, rngs=nnx.Rngs(0))))()
    graph, *values = split(model)
    params, frozen = replicate(mesh, values)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-6), 100)
    state = replicate(mesh, TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32)))
    step = make_train_step(graph, optimizer, LossWeights(), jnp.bfloat16, options.remat, backend=backend)
    rows = made_rows(config, options.rows * devices, options.length, options.groups)
    tokens = int((rows.group > 0).sum())
    needed = tokens * flops_per_token(config, keys_seen(rows), train=True)
    batch, seconds = spread(mesh, rows), []
    for _ in range(options.steps + 2):
        start = time.perf_counter()
        state, metrics = step(state, frozen, batch)
        loss = float(metrics["loss"])
        seconds.append(time.perf_counter() - start)
    if not np.isfinite(loss):
        raise ToolrmError(f"{name}: the loss is {loss}; the figures of such a run say nothing")
    per_step = statistics.median(seconds[2:])
    share = needed / per_step / (devices * peak_of(jax.devices()[0], options.peak))
    where = f"{devices} x {jax.devices()[0].device_kind}"
    return (
        f"| {name} | {where} | {backend_name(backend)} | {options.rows} x {options.length} | {options.remat} "
        f"| {per_step:.3f} | {tokens / per_step:,.0f} | {share:.1%} |"
    )


def as_bfloat16(model: RewardModel) -> RewardModel:
    """The model with bfloat16 parameters, so that 4B of them and Adam's moments fit one device."""
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda x: x.astype(jnp.bfloat16), state))


def main() -> None:
    """Print the table; a model that does not run is a line that says why, and the exit code is then 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["Qwen3-4B", "Qwen2.5-1.5B"])
    parser.add_argument("--length", type=int, default=4096, help="tokens of a row")
    parser.add_argument("--rows", type=int, default=4, help="rows of a step for each device")
    parser.add_argument("--groups", type=int, default=2, help="groups of a row")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--remat", default="attention")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--peak", type=float, help="TFLOP/s of one device, where its name is not known")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers and a short row")
    options = parser.parse_args()
    if options.tiny:
        options.length, options.rows, options.steps = 256, 1, 2
    lines, failed = [], False
    for name in options.models:
        config = preset(name)
        if options.tiny:
            sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512}
            config, name = dataclasses.replace(config, head_dim=16, **sizes), f"{name} (tiny)"
        try:
            lines.append(measure(name, config, options))
        except (ToolrmError, jax.errors.JaxRuntimeError) as error:
            failed = True
            lines.append(f"| {name} | | | | | | | {str(error).splitlines()[0][:160]} |")
    print("| model | devices | attention | rows | remat | s/step | tokens/s | MFU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
