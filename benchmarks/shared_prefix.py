"""Shared-prefix rows against separate sequences: the same answers of the same context, both ours.

    python benchmarks/shared_prefix.py [--context 1024 4096] [--answers 2 16] [--model SmolLM2-135M] [--layers 2]

A training step's forward and backward pass (all gradients but the embedding's) over one group: as one row, and as one
row for every answer, each with a context of its own; a pair of the group is a right answer and a wrong one, so the
ratio of pairs per second is that of the times. float32, a few of the model's layers: time per layer is alike. The two
sides alternate; the median of the ratios is printed, and how far the scores of the two sides are apart. On a shared
CPU the ratio of CPU seconds is the steadier one.

Beside it stands the ratio of the useful FLOPs of the two sides. What is seen is computed in blocks, so rows of short
answers compute some scores that nobody sees; more so the narrower a model is, since attention weighs more in it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from toolrm_jax.data.rows import Rows, lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import backend_name, choose_backend
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import flops_per_token
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.presets import preset
from toolrm_jax.parallel.estimate import Group

AIMS = {2: 1.8, 16: 6.0}
VOCABULARY = 1024


def made_group(context: int, answer: int, answers: int) -> TokenGroup:
    """A group of random tokens: one right answer, the others wrong."""
    random = np.random.default_rng(0)
    draw = lambda count: random.integers(1, VOCABULARY, count)  # noqa: E731
    right = (True,) + (False,) * (answers - 1)
    return TokenGroup("made", "made", draw(context), tuple(draw(answer) for _ in right), right, ("",) * answers)


def alone(group: TokenGroup, answer: int) -> TokenGroup:
    """The group with only one of its answers: a separate sequence."""
    return TokenGroup("one", "made", group.context, group.responses[answer : answer + 1], (True,), ("",))


def main() -> None:
    """Print one line for every context length and number of answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--answers", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--model", default="SmolLM2-135M")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    config = dataclasses.replace(
        preset(options.model), num_hidden_layers=options.layers, vocab_size=VOCABULARY, max_position_embeddings=65536
    )
    model = RewardModel(config, rngs=nnx.Rngs(0))
    model.score[...] = jax.random.normal(jax.random.key(1), model.score.shape)
    graph, trained, frozen = nnx.split(model, lambda path, _: path[-1] != "embedding", ...)
    backend = choose_backend()

    @jax.jit
    def step(params: nnx.State, rows: Rows) -> tuple[nnx.State, jax.Array]:
        def scores(params: nnx.State) -> tuple[jax.Array, jax.Array]:
            whole = nnx.merge(graph, params, frozen)
            _, rewards = whole(rows.tokens, rows.positions, Visible.of(rows.group, rows.response), backend=backend)
            found = jnp.take_along_axis(rewards, rows.score_at, axis=1)
            return jnp.sum(found * (rows.slot_group > 0)), found

        return jax.grad(scores, has_aux=True)(params)

    print(f"{jax.default_backend()}, {backend_name(backend)}, {options.layers} layer(s) of {options.model}, float32")
    for context in options.context:
        for answers in options.answers:
            group = made_group(context, options.answer, answers)
            shared = stack([lay_out([group], group.size, answers)])
            separate = [
                stack([lay_out([alone(group, i)], context + options.answer, 1)]) for i in range(answers)
            ]  # fmt: skip
            useful = useful_ratio(config, context, options.answer, answers)
            compare(step, trained, shared, separate, options.repeats, useful)


def useful_ratio(config: TrunkConfig, context: int, answer: int, answers: int) -> float:
    """FLOPs that separate sequences need over those that the shared row needs."""
    apart, together = Group(context, answer, 1), Group(context, answer, answers)
    needs = [group.tokens * flops_per_token(config, group.keys, train=True) for group in (apart, together)]
    return answers * needs[0] / needs[1]


def compare(step, params: nnx.State, shared: Rows, separate: list[Rows], repeats: int, useful: float) -> None:
    """Time both sides in turn and print their ratio, by the clock and by CPU seconds of this process."""
    jax.block_until_ready([step(params, rows) for rows in (shared, separate[0])])
    rounds = []
    for _ in range(repeats):
        marks = [np.array([time.perf_counter(), time.process_time()])]
        together = np.asarray(jax.block_until_ready(step(params, shared))[1])[0]
        marks.append(np.array([time.perf_counter(), time.process_time()]))
        apart = np.array([float(jax.block_until_ready(step(params, rows))[1][0, 0]) for rows in separate])
        marks.append(np.array([time.perf_counter(), time.process_time()]))
        rounds.append(np.diff(marks, axis=0))
    far = np.abs(together - apart).max() / np.abs(apart).max()
    (row, _), (each, _) = np.median(rounds, axis=0)
    ratio, by_cpu = np.median([apart / together for together, apart in rounds], axis=0)
    answers, tokens = len(separate), separate[0].tokens.shape[1]
    aim = f" (aim {AIMS[answers]}x)" if answers in AIMS else ""
    print(
        f"K={answers:2}, {shared.tokens.shape[1]} tokens for {answers} x {tokens}: {row:.2f} s for {each:.2f} s, "
        f"{ratio:.2f}x pairs/s{aim}, {by_cpu:.2f}x by CPU seconds, {useful:.2f}x by useful FLOPs, "
        f"scores apart by {far:.0e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
