"""Scoring many candidates of one context: ours against batched transformers, in one run on the CPU.

    python benchmarks/score_vs_hf.py [--contexts 64] [--answers 32] [--hidden 256] [--layers 4] [--threads 2]

Contexts are BFCL's questions, candidates are answers of real models to them, filled up with made mistakes where fewer
were recorded. Ours reads a context once for all its candidates, and once what candidates begin with alike
(`evals.scoring`); transformers gets every candidate with its context as a sequence, sorted by length so that batches
hardly pad, in the best of the batch sizes tried, with sdpa and without gradients. The sides take turns over blocks of
contexts, and all scores are held equal. Printed are candidates per second of both and the ratio, by the clock and by
CPU time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--contexts", type=int, default=64)
parser.add_argument("--answers", type=int, default=32)
parser.add_argument("--hidden", type=int, default=256)
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--blocks", type=int, default=4, help="how often the sides take turns")
parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16, 32], help="of transformers, tried first")
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
options = parser.parse_args()
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))

from toolrm_jax.parallel.mesh import use_all_cores  # noqa: E402

use_all_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from real_groups import bfcl_many, encoded, qwen3, qwen3_shape, renumbered  # noqa: E402
from torch_classifier import torch_classifier  # noqa: E402

from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.data.trees import Tree  # noqa: E402
from toolrm_jax.evals.scoring import score  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402


def their_scores(model: torch.nn.Module, groups: list[TokenGroup], batch: int) -> list[np.ndarray]:
    """Scores of every answer: sequences sorted by length, padded to the longest of their batch."""
    items = [
        (g, k, np.concatenate([one.context, answer]))
        for g, one in enumerate(groups)
        for k, answer in enumerate(one.responses)
    ]
    items.sort(key=lambda item: -len(item[2]))
    out = [np.zeros(len(group.responses), np.float32) for group in groups]
    with torch.inference_mode():
        for start in range(0, len(items), batch):
            some = items[start : start + batch]
            ids = torch.zeros((len(some), len(some[0][2])), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, (_, _, sequence) in enumerate(some):
                ids[row, : len(sequence)] = torch.from_numpy(sequence.astype(np.int64))
                mask[row, : len(sequence)] = 1
            found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].numpy()
            for (g, k, _), value in zip(some, found):
                out[g][k] = value
    return out


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(options.threads)
    groups, vocabulary = renumbered(encoded(qwen3(), bfcl_many(options.contexts, options.answers), 8192))
    with tempfile.TemporaryDirectory() as folder:
        theirs = torch_classifier(qwen3_shape(options.hidden, options.layers, vocabulary), Path(folder)).eval()
        ours, _ = load_model(Path(folder))
    together = sum(Tree.of(group.context, group.responses).size for group in groups)
    apart = sum(len(group.context) * len(group.responses) + sum(map(len, group.responses)) for group in groups)
    count = sum(len(group.responses) for group in groups)
    print(f"{len(groups)} contexts x {options.answers} answers: {together:,} tokens in trees, as sequences {apart:,}")
    tried = {}
    for size in options.batches:
        start = time.perf_counter()
        their_scores(theirs, groups[:2], size)
        tried[size] = time.perf_counter() - start
    best = min(tried, key=tried.get)
    # What a program that scores again and again has: every shape compiled once, and found again by later calls.
    jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    score(ours, groups)
    spent, far = {"ours": np.zeros(2), "transformers": np.zeros(2)}, 0.0
    blocks = [groups[i :: options.blocks] for i in range(options.blocks)]
    for block in blocks:
        marks = [clocks()]
        mine = score(ours, block)
        marks.append(clocks())
        other = their_scores(theirs, block, best)
        marks.append(clocks())
        spent["ours"] += marks[1] - marks[0]
        spent["transformers"] += marks[2] - marks[1]
        far = max(far, *(float(np.abs(a - b).max()) for a, b in zip(mine, other)))
    for side, (wall, cpu) in spent.items():
        print(f"{side:12} {count / wall:8.1f} candidates/s by the clock, {count / cpu:8.1f} by CPU seconds")
    wall, cpu = spent["transformers"] / spent["ours"]
    print(f"scores apart by {far:.1e}; batches of {best} for transformers, {options.threads} threads, float32")
    print(f"ours is {wall:.1f}x as fast by the clock, {cpu:.1f}x by CPU seconds (aim: 8x)")


if __name__ == "__main__":
    main()
