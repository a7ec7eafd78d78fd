"""A forward and backward pass of ours against transformers' in torch: the same weights, tokens and threads.

    python benchmarks/train_step_vs_torch.py [--layers 6] [--length 512] [--rows 2] [--repeats 7] [--threads 2]

SmolLM2-135M's layers, float32, on the CPU; every row is one sequence, since transformers knows no shared prefixes. The
sides alternate; medians of the ratios are printed, after the scores and a gradient of the two were found equal. What
the pass is made of is measured apart: a matrix product of the MLP's shape and attention, times the layers. On a shared
machine take --threads 1 --cpu-seconds: threads that wait for each other count for nothing then.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--layers", type=int, default=6)
parser.add_argument("--length", type=int, default=512)
parser.add_argument("--rows", type=int, default=2)
parser.add_argument("--repeats", type=int, default=7)
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--cpu-seconds", dest="clock", action="store_const", const=time.process_time)
parser.set_defaults(clock=time.perf_counter)
options = parser.parse_args()
# JAX gets one device for each core, torch as many threads: both may use the same cores.
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))

from toolrm_jax.parallel.mesh import data_mesh, replicate, spread, use_all_cores  # noqa: E402

use_all_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from flax import nnx  # noqa: E402

from toolrm_jax.models.attention import Visible, attend  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.models.presets import PRESETS  # noqa: E402

CONFIG = dataclasses.replace(PRESETS["SmolLM2-135M"], num_hidden_layers=options.layers, vocab_size=2048)


def reference(folder: Path) -> torch.nn.Module:
    """transformers' model of that shape, saved under `folder`."""
    known = transformers.LlamaConfig().to_dict()
    sizes = {
        name: value for name, value in dataclasses.asdict(CONFIG).items() if name in known and name != "model_type"
    }
    config = transformers.LlamaConfig(**sizes, rope_theta=CONFIG.rope_theta, num_labels=1, pad_token_id=0)
    torch.manual_seed(0)
    model = transformers.LlamaForSequenceClassification(config)
    model.save_pretrained(folder)
    return model


def timed(action: Callable[[], object]) -> float:
    start = options.clock()
    action()
    return options.clock() - start


def alternate(repeats: int, *actions: Callable[[], object]) -> list[tuple[float, ...]]:
    """Seconds of each action by the chosen clock, in turn; the first round is not counted."""
    return [tuple(timed(action) for action in actions) for _ in range(repeats + 1)][1:]


def ratio(seconds: list[tuple[float, ...]]) -> str:
    ours, theirs = (statistics.median(side) for side in zip(*seconds))
    share = statistics.median(b / a for a, b in seconds)
    return f"ours {ours * 1e3:7.0f} ms, torch {theirs * 1e3:7.0f} ms, {share:.2f}x the speed of torch"


def main() -> None:
    """Check that both sides compute the same, then print the ratios."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        theirs = reference(Path(folder))
        model, _ = load_model(Path(folder))
    B, T = options.rows, options.length
    tokens = np.random.default_rng(0).integers(1, CONFIG.vocab_size, (B, T)).astype(np.int32)
    ids = torch.tensor(tokens.astype(np.int64))
    mesh = data_mesh(B)
    graph, state = nnx.split(model)
    state = replicate(mesh, state)
    ours_rows = spread(mesh, (tokens, np.tile(np.arange(T, dtype=np.int32), (B, 1)), np.ones((B, T), np.int32)))

    def scores(state: nnx.State, tokens: jax.Array, positions: jax.Array, group: jax.Array) -> jax.Array:
        _, rewards = nnx.merge(graph, state)(tokens, positions, Visible.of(group, jnp.zeros_like(group)))
        return rewards[:, -1]

    run = jax.jit(scores)
    gradient = jax.jit(jax.grad(lambda state, *rows: jnp.sum(scores(state, *rows))))

    def torch_backward() -> None:
        theirs.zero_grad(set_to_none=True)
        theirs(ids).logits.sum().backward()

    def torch_forward() -> np.ndarray:
        with torch.no_grad():
            return theirs(ids).logits[:, 0].numpy()

    np.testing.assert_allclose(np.asarray(run(state, *ours_rows)), torch_forward(), atol=1e-4)
    torch_backward()
    mine = gradient(state, *ours_rows).flat_state()
    norm = next(leaf.get_value() for path, leaf in zip(mine.paths, mine.leaves) if path == ("trunk", "norm"))
    np.testing.assert_allclose(norm, theirs.model.norm.weight.grad.numpy(), rtol=1e-3, atol=1e-4)

    print(
        f"{B} x {T} tokens, {options.layers} layers of SmolLM2-135M, float32, {options.threads} threads, scores equal"
    )
    ours_forward = lambda: jax.block_until_ready(run(state, *ours_rows))  # noqa: E731
    ours_backward = lambda: jax.block_until_ready(gradient(state, *ours_rows))  # noqa: E731
    print("forward              ", ratio(alternate(options.repeats, ours_forward, torch_forward)), flush=True)
    whole = alternate(options.repeats, ours_backward, torch_backward)
    print("forward and backward ", ratio(whole), flush=True)
    profile(mesh, statistics.median(a for a, _ in whole), statistics.median(b for _, b in whole))


def profile(mesh: jax.sharding.Mesh, ours: float, theirs: float) -> None:
    """Where the time goes: attention and the MLP's matrix products, forward and backward, times the layers."""
    B, T, N, K, H = (
        options.rows,
        options.length,
        CONFIG.num_attention_heads,
        CONFIG.num_key_value_heads,
        CONFIG.head_dim,
    )
    random = np.random.default_rng(1)
    q, k, v = (random.normal(size=(B, T, heads, H)).astype(np.float32) for heads in (N, K, K))
    x = random.normal(size=(B, T, CONFIG.hidden_size)).astype(np.float32)
    w = random.normal(size=(CONFIG.hidden_size, CONFIG.intermediate_size)).astype(np.float32)
    visible = spread(mesh, Visible.of(np.ones((B, T), np.int32), np.zeros((B, T), np.int32)))
    attention = jax.jit(jax.grad(lambda q, k, v: jnp.sum(attend(q, k, v, visible) ** 2), argnums=(0, 1, 2)))
    product = jax.jit(jax.grad(lambda x, w: jnp.sum((x @ w) ** 2), argnums=(0, 1)))
    ours_qkv, ours_x, ours_w = spread(mesh, (q, k, v)), spread(mesh, x), replicate(mesh, w)
    q_t, k_t, v_t = (torch.tensor(part.swapaxes(1, 2).copy(), requires_grad=True) for part in (q, k, v))
    x_t, w_t = (torch.tensor(part, requires_grad=True) for part in (x, w))

    def torch_attention() -> None:
        out = torch.nn.functional.scaled_dot_product_attention(q_t, k_t, v_t, is_causal=True, enable_gqa=True)
        torch.autograd.grad((out**2).sum(), (q_t, k_t, v_t))

    def torch_product() -> None:
        torch.autograd.grad(((x_t @ w_t) ** 2).sum(), (x_t, w_t))

    parts = {
        "attention": (lambda: jax.block_until_ready(attention(*ours_qkv)), torch_attention, options.layers),
        "MLP products": (lambda: jax.block_until_ready(product(ours_x, ours_w)), torch_product, 3 * options.layers),
    }
    print("of forward and backward, measured apart:")
    for name, (mine, other, times) in parts.items():
        seconds = alternate(options.repeats, mine, other)
        shares = [times * statistics.median(side) / total for side, total in zip(zip(*seconds), (ours, theirs))]
        print(
            f"  {name:18} {ratio(seconds)}; x {times}: {shares[0]:.0%} of ours, {shares[1]:.0%} of torch's", flush=True
        )


if __name__ == "__main__":
    main()
