"""What the time before the first step went into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Startup:
    """A clock from the start of a run, and the seconds of each named part of it."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The time inside counts for `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start

    def line(self) -> str:
        """All of it as one line."""
        whole = time.perf_counter() - self.start
        rest = whole - sum(self.parts.values())
        named = ", ".join(f"{name} {seconds:.1f}" for name, seconds in {**self.parts, "other": rest}.items())
        return f"first step after {whole:.1f} s ({named})"
