"""How fast `toolrm prepare` goes from read tasks to written groups, and how much memory it takes.

    python benchmarks/prepare.py config=data/balanced data.folder=FOLDER run.workers=2

Runs the command as a user would, in a process of its own, into a folder that is removed afterwards (say output=FOLDER
to keep it), and prints tasks a second of wall-clock and of CPU time, the largest sum of the processes' resident
memory, and what the card says. With nothing said it takes BFCL's own questions, which come with `bfcl-eval`.
`profile=true` prints what one process spends its time on instead.
"""

import contextlib
import cProfile
import importlib.util
import io
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from toolrm_jax.preferences.card import read_card

BFCL = ("config=data/balanced", "data.sources=bfcl", "data.benchmarks=", "pairs=2000", "held_out=50")


def children(pid: int) -> list[int]:
    """All processes below `pid`, and itself (Linux)."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):  # it may end while it is looked at
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, task.read_text().split())
    return found


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and all below it; 0 where they are gone."""
    total = 0
    for one in children(pid):
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def measured(words: list[str]) -> tuple[float, float, int]:
    """Wall-clock seconds, CPU seconds of all processes, and the peak of their resident memory in bytes."""
    peak = 0
    start = time.monotonic()
    running = subprocess.Popen([sys.executable, "-m", "toolrm_jax", "prepare", *words], stdout=subprocess.DEVNULL)

    def watch() -> None:
        nonlocal peak
        while running.poll() is None:
            peak = max(peak, resident(running.pid))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = running.wait()
    wall = time.monotonic() - start
    watcher.join()
    if code:
        raise SystemExit(f"toolrm prepare ended with {code}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, used.ru_utime + used.ru_stime, peak


def profile(words: list[str]) -> None:
    """One process, and the functions it spends most time in."""
    from toolrm_jax.cli import main

    profiler = cProfile.Profile()
    with contextlib.redirect_stdout(io.StringIO()):
        profiler.runcall(main, ["prepare", *words])
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Measure, or say why not."""
    words = sys.argv[1:]
    if not words:
        if importlib.util.find_spec("bfcl_eval") is None:
            print("prepare: bfcl-eval is not installed; nothing to measure")
            return
        words = list(BFCL)
    with tempfile.TemporaryDirectory() as scratch:
        output = next((word.partition("=")[2] for word in words if word.startswith("output=")), f"{scratch}/out")
        words = [word for word in words if not word.startswith("output=")] + [f"output={output}"]
        if "profile=true" in words:
            profile([word for word in words if word != "profile=true"])
            return
        wall, cpu, peak = measured(words)
        groups, train = (read_card(Path(output) / name) for name in ("groups", "train"))
        tasks = sum(row["tasks"] for row in groups.tables["tasks read"].values())
        pairs = sum(count for row in train.tables["pairs by source and class"].values() for count in row.values())
        print(f"{tasks:,} tasks in {wall:.1f} s, {cpu:.1f} s of CPU: {tasks / wall:,.0f} tasks/s of wall clock,")
        print(f"  {tasks / cpu:,.0f} tasks per CPU second; peak memory {peak / 2**20:,.0f} MiB")
        print(f"{groups.groups:,} groups made; {train.groups:,} groups with {pairs:,} pairs drawn for training")


if __name__ == "__main__":
    main()
