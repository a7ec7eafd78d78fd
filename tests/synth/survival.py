"""The scenario that every run must survive: its server is killed and started again, it is killed three times itself."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.synth.fault_proxy import Seen, fault_proxy
from tests.synth.made_tasks import write_tasks
from toolrm_jax.errors import DataError
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.synth.journal import read_status

KILLS = 3
AT_ONCE = 4
SAMPLES = 2
"""Of each context by each way in."""

CONFIG = """
from toolrm_jax.commands.synth import Config, PatienceConfig, SamplingConfig
from toolrm_jax.commands.synth_models import ModelConfig

def config():
    ways = {{"chat": "openai", "generate": "hermes"}}
    return Config(
        output={output!r},
        models=tuple(
            ModelConfig(
                name=way, served_as={served_as!r}, servers=({url!r},), way=way, format=ways[way], samples={samples},
                weights={weights!r} if way == "generate" else "", at_once={at_once},
            )
            for way in ways
        ),
        sources=("xlam={tasks}",),
        sampling=SamplingConfig(max_tokens=6),
        patience=PatienceConfig(timeout_s={timeout_s}, attempts=50, longest_s=4),
    )
"""


class Server:
    """Something that serves at `url` and can be killed and started again there."""

    def __init__(self, start: Callable[[], subprocess.Popen], url: str) -> None:
        self.start, self.url = start, url
        self.process = start()

    def kill(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Kill it and start another at the same address."""
        self.kill()
        self.process = self.start()


def survive(folder: Path, server: Server, weights: Path, served_as: str, contexts: int, timeout_s: float) -> Seen:
    """Run to the end through all of it, check what is there in the end, and give what the server was asked.

    Raises AssertionError where an answer is missing or there twice, or a request that had been answered was repeated.
    """
    total = 2 * SAMPLES * contexts
    output = folder / "out"
    with fault_proxy(server.url, share=0.0) as proxy:
        text = CONFIG.format(
            output=str(output), url=proxy.url, served_as=served_as, samples=SAMPLES, weights=str(weights),
            at_once=AT_ONCE, tasks=write_tasks(folder / "xlam.json", contexts), timeout_s=timeout_s,
        )  # fmt: skip
        (folder / "config.py").write_text(text)
        answered: set[str] = set()
        for number in range(KILLS):
            run = start_run(folder)
            wait_for(output, (number + 1) * total // (KILLS + 2), run)
            if number == 1:
                server.restart()
                wait_for(output, (number + 1) * total // (KILLS + 2) + 2, run)
            run.send_signal(signal.SIGKILL)
            run.wait()
            there = keys(output)
            assert answered <= there, "an answer that had counted is lost"
            answered = there
        run = start_run(folder)
        said, _ = run.communicate(timeout=1800)
    assert run.returncode == 0, said
    statuses = read_status(output / "journal.sqlite")
    assert [(status.answers, status.failed) for status in statuses] == [(SAMPLES * contexts, 0)] * 2, statuses
    assert len(keys(output)) == total
    with sqlite3.connect(output / "journal.sqlite") as rows:
        places = collections.Counter(rows.execute("SELECT plan, task, sample FROM outcomes"))
    assert len(places) == total
    assert set(places.values()) == {1}
    # Answers that were under way when we were killed could not be kept; nothing else may be answered once more.
    assert native_again(proxy) <= AT_ONCE * KILLS
    assert chat_again(proxy) <= AT_ONCE * KILLS * SAMPLES
    assert {group.task.id for group in read_groups(output / "groups")} == {f"xlam/{n}" for n in range(contexts)}
    return proxy


def start_run(folder: Path) -> subprocess.Popen:
    """`toolrm synth` in a process of its own."""
    command = [sys.executable, "-m", "toolrm_jax", "synth", f"config={folder / 'config.py'}"]
    with open(folder / "run.log", "ab") as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)


def wait_for(output: Path, count: int, run: subprocess.Popen) -> None:
    """Until so many answers count."""
    end = time.monotonic() + 1200
    while time.monotonic() < end:
        with contextlib.suppress(DataError):
            if sum(status.answers for status in read_status(output / "journal.sqlite")) >= count:
                return
        assert run.poll() is None, f"the run ended early ({run.returncode}): {run.stdout.read()}"
        time.sleep(0.05)  # more often would take the server's time
    raise AssertionError(f"no {count} answers came")


def keys(output: Path) -> set[str]:
    """Requests with an answer."""
    with sqlite3.connect(output / "journal.sqlite") as rows:
        return {key.hex() for (key,) in rows.execute("SELECT key FROM outcomes WHERE answer IS NOT NULL")}


def native_again(proxy: Seen) -> int:
    """How often a native request, told by its prompt and its seed, was answered once more."""
    native = [json.loads(body) for body, _ in proxy.answered if b"input_ids" in body]
    times = collections.Counter(
        json.dumps([one["input_ids"], one["sampling_params"]["sampling_seed"]]) for one in native
    )
    assert times, "nothing was asked by that way"
    return sum(count - 1 for count in times.values())


def chat_again(proxy: Seen) -> int:
    """How many answers came by chat beyond those that contexts, told by their messages, had to have."""
    given: collections.Counter[str] = collections.Counter()
    for body, answers in proxy.answered:
        if b"input_ids" not in body:
            given[json.dumps(json.loads(body)["messages"])] += answers
    assert given, "nothing was asked by that way"
    return sum(max(0, count - SAMPLES) for count in given.values())
