"""Model FLOPs utilisation of a training step on the accelerators of this machine: prints a Markdown table.

    python benchmarks/train_mfu.py
    python benchmarks/train_mfu.py --models Qwen3-8B --length 16384 --rows 1 --remat full --attention xla
    JAX_PLATFORMS=cpu python benchmarks/train_mfu.py --tiny --peak 0.1      (the script itself, at toy sizes)

The step is that of `toolrm train`, weights cut over all devices (`fsdp`). Useful FLOPs are those of matrices, of scores
and of weighted values over the keys that a token sees, forward and twice that backward; recomputation, padding and what
the mask hides are not counted, a causal pair once. Rows hold groups of a context and 4 answers, bfloat16 compute and
parameters, Adam. The peak is the dense bfloat16 figure of the data sheet. What is under way is told on stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
import traceback

import flax
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
from toolrm_jax.models.placement import placed
from toolrm_jax.models.presets import preset
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, spread
from toolrm_jax.train.layout import Layout
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig, make_optimizer
from toolrm_jax.train.speed import peak
from toolrm_jax.train.step import make_train_step, split


def peak_of(device: jax.Device, said: float | None) -> float:
    """FLOP/s of one device. Raises ToolrmError where its name is not known and none was said."""
    found = said * 1e12 if said else peak(device)
    if found is None:
        raise ToolrmError(f"no peak is known for {device.device_kind!r}; give --peak TFLOPS, bfloat16 without sparsity")
    return found


def tell(*words: object) -> None:
    """Say what is under way, beside the table."""
    print(*words, file=sys.stderr, flush=True)


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
    devices, limit = jax.device_count(), peak_of(jax.devices()[0], options.peak)
    mesh = make_mesh(MeshConfig(), options.rows * devices)
    backend = choose_backend(options.attention)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-6), 100)
    graph, *abstract = split(nnx.eval_shape(lambda: made(config)))
    layout = Layout.of(mesh, config, 0, *abstract, optimizer)
    with placed(layout.placed):
        heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        tell(f"{name}: {self_check(backend, *heads, jnp.bfloat16)}")
    weights = jax.jit(lambda: split(made(config))[1:], out_shardings=(layout.state.params, layout.frozen))()
    state, frozen = layout.first_state(*weights, optimizer)
    del weights
    step = make_train_step(graph, optimizer, LossWeights(), jnp.bfloat16, options.remat, layout, backend)
    rows = made_rows(config, options.rows * devices, options.length, options.groups)
    tokens = int((rows.group > 0).sum())
    needed = tokens * flops_per_token(config, keys_seen(rows), train=True)
    batch, seconds = spread(mesh, rows), []
    for number in range(options.steps + 2):
        start = time.perf_counter()
        state, metrics = step(state, frozen, batch)
        loss = float(metrics["loss"])
        seconds.append(time.perf_counter() - start)
        if number < 3:
            tell(f"{name}: step {number} took {seconds[-1]:.2f} s{' with compiling' if number == 0 else ''}")
    if not np.isfinite(loss):
        raise ToolrmError(f"the loss is {loss}; the figures of such a run say nothing")
    per_step = statistics.median(seconds[2:])
    return (
        f"| {name} | {devices} x {jax.devices()[0].device_kind} | {backend_name(backend)} "
        f"| {options.rows} x {options.length} | {options.remat} | {per_step:.3f} | {tokens / per_step:,.0f} "
        f"| {needed / per_step / (devices * limit):.1%} |"
    )


def made(config: TrunkConfig) -> RewardModel:
    """A fresh model with bfloat16 parameters, so that 4B of them and Adam's moments fit one device."""
    graph, state = nnx.split(RewardModel(config, rngs=nnx.Rngs(0)))
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
    tell(f"jax {jax.__version__}, {jax.device_count()} x {jax.devices()[0].device_kind}")
    for name in options.models:
        config = preset(name)
        if options.tiny:
            sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512}
            config, name = dataclasses.replace(config, head_dim=16, **sizes), f"{name} (tiny)"
        try:
            lines.append(measure(name, config, options))
        except Exception as error:
            # Whatever stopped one model, the others are still measured.
            failed = True
            traceback.print_exc()
            said = (str(error).splitlines() or [""])[0][:160].replace("|", "/")
            lines.append(f"| {name} | {type(error).__name__}: {said} | | | | | | |")
    print(f"jax {jax.__version__}, flax {flax.__version__}\n")
    print("| model | devices | attention | rows | remat | s/step | tokens/s | MFU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
