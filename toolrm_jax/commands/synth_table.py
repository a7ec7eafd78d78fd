"""The live table of `toolrm synth`: per server what is under way, done and failed, tokens/s, and the time left."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TextIO

from toolrm_jax.commands.synth_models import Entry
from toolrm_jax.synth.protocol import Outcome
from toolrm_jax.synth.servers import Server

EVERY_S = 1.0
EVERY_LINE_S = 30.0
WINDOW_S = 30.0
"""Rates are of so many last seconds."""
_COLUMNS = ("model", "server", "in flight", "done", "failed", "tokens/s", "state")


class Progress:
    """Counts what is on disk. `add` may be called in any thread."""

    def __init__(self, entries: Sequence[Entry], plans: Sequence[int], done_before: int) -> None:
        self.entries, self.total = entries, sum(entry.requests for entry in entries)
        self.before = done_before  # by earlier runs, and what needs no asking
        self.names = dict(zip(plans, (entry.name for entry in entries)))
        self.done: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[str] = Counter()
        self.recent: deque[tuple[float, str, str, int]] = deque()
        self.lock = threading.Lock()
        self.began = time.monotonic()

    def add(self, plan: int, outcome: Outcome) -> None:
        """Count one outcome."""
        name = self.names[plan]
        with self.lock:
            if outcome.answer is None:
                self.failed[name] += 1
            else:
                self.done[name, outcome.answer.server] += 1
                self.recent.append((time.monotonic(), name, outcome.answer.server, outcome.answer.tokens))

    def pass_over(self, count: int) -> None:
        """Count requests that need not be asked."""
        with self.lock:
            self.before += count

    @property
    def finished(self) -> int:
        """Requests with an outcome, those of earlier runs included."""
        with self.lock:
            return self.before + sum(self.done.values()) + sum(self.failed.values())

    def rows(self) -> list[tuple[str, ...]]:
        """The table's lines, without its head."""
        now = time.monotonic()
        with self.lock:
            while self.recent and self.recent[0][0] < now - WINDOW_S:
                self.recent.popleft()
            seconds = max(min(WINDOW_S, now - self.began), 1e-3)
            tokens: Counter[tuple[str, str]] = Counter()
            for _, name, server, count in self.recent:
                tokens[name, server] += count
            done, failed = Counter(self.done), Counter(self.failed)
        rows = []
        for entry in self.entries:
            places = [(one.url, f"{one.under_way:,}", f"{one.failed:,}", _state(one)) for one in entry.servers]
            for url, under_way, lost, state in places or [("", "", f"{failed[entry.name]:,}", entry.where)]:
                key = entry.name, url
                rate = f"{tokens[key] / seconds:,.0f}"
                rows.append((entry.name, url, under_way, f"{done[key]:,}", lost, rate, state))
        return rows

    def line(self) -> str:
        """One line on the whole."""
        finished, now = self.finished, time.monotonic() - self.began
        rate = (finished - self.before) / now if now > 0 else 0.0
        left = f", {_clock((self.total - finished) / rate)} left" if rate > 0 else ""
        return f"{finished:,} of {self.total:,} requests, {rate:,.1f}/s{left}"


class Table:
    """Draws a progress: in place where `out` is a terminal, else one line now and then."""

    def __init__(self, progress: Progress, out: TextIO | None = None) -> None:
        self.progress, self.out = progress, out or sys.stderr
        self.drawn = 0
        self.last = time.monotonic()

    def draw(self, last: bool = False) -> None:
        """Draw it if it is time to, in any case where it is the last time."""
        now = time.monotonic()
        live = self.out.isatty()
        if not last and now - self.last < (EVERY_S if live else EVERY_LINE_S):
            return
        self.last = now
        if not live:
            print(self.progress.line(), file=self.out, flush=True)
            return
        lines = [*aligned([_COLUMNS, *self.progress.rows()]), self.progress.line()]
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        print(up + "".join(f"\x1b[2K{line}\n" for line in lines), end="", file=self.out, flush=True)
        self.drawn = len(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of one width; figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.rjust(w) if _is_figure(cell) else cell.ljust(w) for cell, w in zip(row, widths)).rstrip()
        for row in rows
    ]


def _is_figure(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").isdigit()


def _state(server: Server) -> str:
    if not server.said:
        return "answers" if server.answered else ""
    return f"{'aside' if server.aside else 'trouble'}: {server.said}"[:60]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
