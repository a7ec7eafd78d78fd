"""Says what a run waits for when it stands still: each host for itself, on its own stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import jax


class Watch:
    """A thread that looks at what the loop does now, and tells of `after` seconds at one thing, each time they pass.

    after: 0 is never; nothing runs then.
    """

    def __init__(self, after: float, say: Callable[[str], None] | None = None) -> None:
        self.after = after
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.doing: tuple[str, int, float] = ("start", 0, time.monotonic())
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look, name="watch", daemon=True)

    @contextmanager
    def at(self, what: str, step: int) -> Iterator[None]:
        """Inside, the loop does `what` for `step`."""
        before, self.doing = self.doing, (what, step, time.monotonic())
        try:
            yield
        finally:
            self.doing = (before[0], step, time.monotonic())

    def _look(self) -> None:
        told = 0.0
        while not self.ended.wait(min(self.after / 4, 5.0)):
            what, step, since = self.doing
            now = time.monotonic()
            if now - max(since, told) >= self.after:
                told = now
                host = f"process {jax.process_index()} of {jax.process_count()}: "
                self.say(f"{host}step {step} has stood still for {now - since:.0f} s; it waits for {what}")

    def __enter__(self) -> Self:
        if self.after:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self.after:
            self.thread.join()
