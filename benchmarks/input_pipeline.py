"""The input pipeline alone: from prepared groups in an ArrayRecord file to packed rows, on one core.

    python benchmarks/input_pipeline.py [--tasks 4000] [--length 4096] [--slots 64] [--epochs 10]

Prepares SGD groups (a right answer and three mistakes), tokenises them as `toolrm train` does, and then reads the file
and lays out the rows of one epoch after another. Prints tokens per second of wall-clock and of CPU time (aim: a
million), the share of padding (aim: at most 3 %), and the process's memory after each epoch (aim: flat).
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from real_groups import encoded, qwen3, sgd_groups  # noqa: E402

from toolrm_jax.data.dataset import RowSource, batches  # noqa: E402
from toolrm_jax.data.store import read_tokens, write_tokens  # noqa: E402


def resident() -> float:
    """MiB of resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    groups = encoded(qwen3(), sgd_groups(options.tasks, mistakes=3), options.length)
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder), groups)
        del groups
        gc.collect()
        start, cpu = time.perf_counter(), time.process_time()
        read = read_tokens(Path(folder))
        source = RowSource(read, options.length, options.slots, options.rows, options.epochs, seed=0)
        opened, tokens = time.perf_counter() - start, 0
        steps = len(source) // options.rows
        memory, wall, mark = [], time.perf_counter(), 0
        for number, batch in enumerate(batches(source, options.rows), start=1):
            tokens += int((batch.group > 0).sum())
            if number * options.epochs // steps > mark:
                mark = number * options.epochs // steps
                memory.append(resident())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(read):,} SGD groups, {steps} steps of {options.rows} x {options.length}, {options.epochs} epochs")
    print(f"opening and planning: {opened:.2f} s")
    print(
        f"rows: {tokens / wall / 1e6:.2f} M tokens/s of wall-clock, {tokens / cpu / 1e6:.2f} M of CPU time with opening"
    )
    print(f"padding: {source.padding:.2%}")
    print(f"memory after each epoch, MiB: {' '.join(f'{size:.0f}' for size in memory)}")


if __name__ == "__main__":
    main()
