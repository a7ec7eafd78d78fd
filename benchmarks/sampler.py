"""Several answers to each context: the in-process sampler against transformers' `generate`, in one run on the CPU.

    python benchmarks/sampler.py [--model smollm2-135m] [--contexts 32] [--samples 8] [--max-tokens 48] [--threads 2]

Contexts are BFCL's live questions in the model's chat template. Both sides have the same float32 weights, temperature 1
and no filter, and stop at the end-of-turn token. transformers has contexts sorted by length, padded on the left,
`num_return_sequences`, and the best of the batch sizes and caches tried. What is compiled or warmed up is so before the
clock starts. The sides take turns over blocks of contexts. Lengths of sampled answers differ by chance, so the ratio is
that of tokens per second, counted up to and with the end-of-turn token.

transformers reads a context once for each of its answers, and that is most of the difference where contexts are long.
So the ratio of writing alone is printed too: for transformers what comes after a batch's first tokens, for the
in-process sampler the whole less a run of the same contexts with answers of one token.

Printed beside it: how far the in-process sampler is from what its useful multiplications alone would take at the speed
of a large float32 matrix product, measured in the same run, and from reading weights and keys once a step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="smollm2-135m")
parser.add_argument("--contexts", type=int, default=32)
parser.add_argument("--samples", type=int, default=8)
parser.add_argument("--max-tokens", type=int, default=48)
parser.add_argument("--longest", type=int, default=384, help="tokens of a context, at most")
parser.add_argument("--blocks", type=int, default=2, help="how often the sides take turns")
parser.add_argument("--rows", type=int, default=128)
parser.add_argument("--batches", type=int, nargs="+", default=[2, 8], help="contexts of transformers, tried first")
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
options = parser.parse_args()
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from toolrm_jax.commands.backbone import backbone  # noqa: E402
from toolrm_jax.data.chat import Chat  # noqa: E402
from toolrm_jax.models.declarations import flops_per_token  # noqa: E402
from toolrm_jax.models.decode import Decoder, decoder, token_bytes  # noqa: E402
from toolrm_jax.models.draw import Filters  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.seeding import seeded  # noqa: E402
from toolrm_jax.sources import bfcl  # noqa: E402
from toolrm_jax.synth.generate import Limits, generate  # noqa: E402
from toolrm_jax.synth.generate_rows import Wanted  # noqa: E402

LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
Contexts = list[list[int]]


def contexts(chat: Chat) -> Contexts:
    """Token ids of live questions, drawn."""
    tasks = sorted(bfcl.read(categories=LIVE), key=lambda task: seeded(0, "benchmark", task.id).random())
    found = (chat.context_ids(task.context) for task in tasks)
    return [ids for ids in found if len(ids) <= options.longest][: options.contexts]


class FirstTokens(transformers.LogitsProcessor):
    """When the first tokens of a batch were about to be drawn, by the clocks."""

    def __init__(self) -> None:
        self.at: np.ndarray | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are."""
        self.at = clocks() if self.at is None else self.at
        return scores


def ours(model: Decoder, given: Contexts, stop: int, first_seed: int, tokens: int) -> tuple[int, int]:
    """Tokens written, and steps taken."""
    count = options.samples
    wanted = [
        Wanted(i, ids, range(first_seed + i * count, first_seed + (i + 1) * count)) for i, ids in enumerate(given)
    ]
    steps = generate(
        model,
        wanted,
        stop_ids=[stop],
        max_tokens=tokens,
        filters=Filters(),
        limits=Limits(rows=options.rows),
    )
    ended = list(steps)
    written = [one for step in ended for one in step]
    assert len(written) == len(given) * count
    return sum(len(one.tokens) + one.stopped for one in written), len(ended)


def theirs(
    model: torch.nn.Module, given: Contexts, chat: Chat, batch: int, cache: str, tokens: int
) -> tuple[int, np.ndarray]:
    """Tokens written up to and with the end of each answer, and the time before the first ones of each batch."""
    total, reading = 0, np.zeros(2)
    ordered = sorted(given, key=len)
    for start in range(0, len(ordered), batch):
        some = ordered[start : start + batch]
        length = len(some[-1])
        ids = torch.tensor([[chat.pad_id] * (length - len(one)) + one for one in some])
        mask = torch.tensor([[0] * (length - len(one)) + [1] * len(one) for one in some])
        began, first = clocks(), FirstTokens()
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=tokens,
                num_return_sequences=options.samples,
                eos_token_id=chat.end_of_turn_id,
                pad_token_id=chat.pad_id,
                cache_implementation=cache,
                disable_compile=True,
                logits_processor=[first],
            )[:, length:]
        reading += first.at - began
        ended = torch.cumsum(out == chat.end_of_turn_id, dim=1)
        total += int(((ended == 0) | ((ended == 1) & (out == chat.end_of_turn_id))).sum())
    return total, reading


def best_way(model: torch.nn.Module, given: Contexts, chat: Chat) -> tuple[int, str]:
    """The batch size (in contexts) and cache that write a few tokens to some of the contexts fastest."""
    some, tried = given[: max(options.batches)], {}
    for batch in options.batches:
        for cache in ("dynamic", "static"):
            start = time.perf_counter()
            theirs(model, some, chat, batch, cache, 6)
            tried[batch, cache] = time.perf_counter() - start
    for (batch, cache), spent in tried.items():
        print(f"  transformers, {batch} contexts at a time, {cache} cache: {spent:.1f} s for a short trial", flush=True)
    return min(tried, key=tried.get)


def speeds() -> tuple[float, float]:
    """FLOP/s of a large float32 matrix product, and bytes/s of reading memory, by the clock: the best of several."""
    matrix, long = jnp.ones((2048, 2048)), np.ones(1 << 27, np.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(matrix, matrix).block_until_ready()
    products, reads = [], []
    for _ in range(8):
        start = time.perf_counter()
        multiply(matrix, matrix).block_until_ready()
        products.append(time.perf_counter() - start)
        start = time.perf_counter()
        long.max()
        reads.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(products), long.nbytes / min(reads)


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = backbone(options.model, Path(temporary) / "imported")
        chat = Chat.load(folder)
        loaded, _ = load_model(folder)
        model = decoder(loaded)
        del loaded
        reference = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
    given = contexts(chat)
    read = sum(map(len, given))
    print(
        f"{options.model}: {len(given)} contexts of {read / len(given):.0f} tokens x {options.samples} answers",
        flush=True,
    )
    batch, cache = best_way(reference, given, chat)
    blocks = [given[i :: options.blocks] for i in range(options.blocks)]
    # With the seeds of the timed runs, so that no size of the batch is met there first and compiled.
    for number, block in enumerate(blocks):
        for length in (1, options.max_tokens):
            ours(model, block, chat.end_of_turn_id, number * 100_000, length)
    whole = {side: np.zeros(2) for side in ("ours", "transformers")}
    reading = {side: np.zeros(2) for side in whole}
    tokens, steps = dict.fromkeys(whole, 0), 0
    for number, block in enumerate(blocks):
        marks = [clocks()]
        ours(model, block, chat.end_of_turn_id, number * 100_000, 1)
        marks.append(clocks())
        written, taken = ours(model, block, chat.end_of_turn_id, number * 100_000, options.max_tokens)
        marks.append(clocks())
        found, before = theirs(reference, block, chat, batch, cache, options.max_tokens)
        marks.append(clocks())
        tokens["ours"], steps = tokens["ours"] + written, steps + taken
        tokens["transformers"] += found
        reading["ours"] += marks[1] - marks[0]
        reading["transformers"] += before
        whole["ours"] += marks[2] - marks[1]
        whole["transformers"] += marks[3] - marks[2]
    for side, (wall, cpu) in whole.items():
        count = tokens[side]
        print(
            f"{side:12} {count:6,} tokens in {wall:.1f} s, {reading[side][0]:.1f} s of it reading contexts: "
            f"{count / wall:.1f} tokens/s by the clock, {count / cpu:.1f} by CPU seconds"
        )
    each = {side: whole[side] / tokens[side] for side in whole}
    writing = {side: (whole[side] - reading[side]) / tokens[side] for side in whole}
    (wall, cpu), (alone, _) = (some["transformers"] / some["ours"] for some in (each, writing))
    print(f"batches of {batch} contexts, {cache} cache for transformers {transformers.__version__}; float32")
    print(
        f"ours is {wall:.1f}x as fast by the clock, {cpu:.1f}x by CPU seconds (aim: 2x); in writing alone {alone:.1f}x"
    )
    tell_limit(model, read, len(given), tokens["ours"], steps, whole["ours"][0])


def tell_limit(model: Decoder, read: int, contexts: int, written: int, steps: int, wall: float) -> None:
    """Print what the useful work would take at the machine's own speed, and which share of the time that is."""
    config, (products, reads) = model.config, speeds()
    mean, answer = read / contexts, written / (contexts * options.samples)
    flops = read * flops_per_token(config, mean / 2) + written * flops_per_token(
        config, mean + answer / 2, predicted=1.0
    )
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model))
    # Every context is read once a step as long as any of its answers goes on; at least as long as the mean answer.
    keys = token_bytes(config, model.dtype) * (read * answer + written * answer / 2)
    size = steps * weights + keys
    print(
        f"limit: {flops / 1e12:.2f} TFLOP at {products / 1e9:.0f} GFLOP/s are {flops / products:.1f} s, "
        f"{size / 1e9:.0f} GB at {reads / 1e9:.0f} GB/s {size / reads:.1f} s (they can overlap); taken: {wall:.1f} s, "
        f"{max(flops / products, size / reads) / wall:.0%} of the limit's speed"
    )


if __name__ == "__main__":
    main()
