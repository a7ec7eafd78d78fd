"""How fast `toolrm prepare` goes from read tasks to written groups, and how much memory it takes.

    python benchmarks/prepare.py config=data/balanced data.folder=FOLDER run.workers=2

Runs the command as a user would, in a process of its own, into a folder that is removed afterwards (say output=FOLDER
to keep it), and prints tasks a second of wall-clock and of CPU time, the largest sum of the processes' resident
memory, what the card says, and the functions that all processes spent most CPU time in (sampled/sitecustomize.py). With
nothing said it takes BFCL's own questions, which come with `bfcl-eval`.
"""

import collections
import contextlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import toolrm_jax
from toolrm_jax.preferences.card import read_card

SAMPLED = Path(__file__).with_name("sampled")
TOP = 25  # functions told
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


def measured(words: list[str], samples: Path) -> tuple[float, float, int]:
    """Wall-clock seconds, CPU seconds of all processes, and the peak of their resident memory in bytes.

    Each process leaves its samples in the folder.
    """
    peak = 0
    start = time.monotonic()
    paths = os.pathsep.join(filter(None, (str(SAMPLED), os.environ.get("PYTHONPATH"))))
    running = subprocess.Popen(
        [sys.executable, "-m", "toolrm_jax", "prepare", *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths, "TOOLRM_SAMPLES": str(samples)},
    )

    def watch() -> None:
        nonlocal peak
        while running.poll() is None:
            peak = max(peak, resident(running.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = running.wait()
    wall = time.monotonic() - start
    watcher.join()
    if code:
        raise SystemExit(f"toolrm prepare ended with {code}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, used.ru_utime + used.ru_stime, peak


def profile(samples: Path) -> list[str]:
    """The functions with most samples of their own, and those with most in them and in what they call."""
    own: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    for file in samples.glob("*.json"):
        found = json.loads(file.read_text())
        own.update(found["own"])
        within.update(found["within"])
    whole = own.total()
    lines = [f"{whole} samples; % of CPU time in the function itself, and in it with what it calls:"]
    for (one, alone), (other, all_in) in zip(own.most_common(TOP), _ours(within)):
        lines.append(f"  {100 * alone / whole:5.1f}  {one:<55}  {100 * all_in / whole:5.1f}  {other}")
    return lines


def _ours(within: collections.Counter[str]) -> list[tuple[str, int]]:
    parts = {path.name for path in Path(toolrm_jax.__file__).parent.iterdir()}
    return [item for item in within.most_common() if item[0].partition("/")[0] in parts][:TOP]


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
        samples = Path(scratch, "samples")
        samples.mkdir()
        wall, cpu, peak = measured(words, samples)
        groups, train = (read_card(Path(output) / name) for name in ("groups", "train"))
        tasks = sum(row["tasks"] for row in groups.tables["tasks read"].values())
        pairs = sum(count for row in train.tables["pairs by source and class"].values() for count in row.values())
        print(f"{tasks:,} tasks in {wall:.1f} s, {cpu:.1f} s of CPU: {tasks / wall:,.0f} tasks/s of wall clock,")
        print(f"  {tasks / cpu:,.0f} tasks per CPU second; peak memory {peak / 2**20:,.0f} MiB")
        print(f"{groups.groups:,} groups made; {train.groups:,} groups with {pairs:,} pairs drawn for training")
        print("\n".join(profile(samples)))


if __name__ == "__main__":
    main()
