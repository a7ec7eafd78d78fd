"""The journal: every outcome of a run in one SQLite file, on disk before it counts.

Write-ahead log with a sync at each commit: what is committed outlives a killed process and a power cut. One thread
writes whatever has come in since its last commit, so that many outcomes share one sync and a sampler does not wait for
the disk. A request's key is the primary key: nothing can be in it twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.synth.protocol import Answer, Outcome, Request, Sampling

FORMAT = 1
WAITING = 1024
"""Outcomes that may wait for the disk, in memory; whoever brings more waits."""
SETTLE_S = 600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plans (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, options TEXT NOT NULL, requests INTEGER NOT NULL,
    UNIQUE (model, options)
);
CREATE TABLE IF NOT EXISTS outcomes (
    key BLOB PRIMARY KEY, plan INTEGER NOT NULL REFERENCES plans, task TEXT NOT NULL, sample INTEGER NOT NULL,
    answer TEXT, failure TEXT, tokens INTEGER NOT NULL, seconds REAL NOT NULL,
    CHECK ((answer IS NULL) != (failure IS NULL))
);
"""
_INSERT = "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
_FOUND = "SELECT key, task, sample, answer, failure FROM outcomes WHERE key IN ({})"
_LOOKED_UP = 500
"""Keys in one query, within what every SQLite takes."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlanStatus:
    """What the journal holds of one model under one set of options. seconds: summed over answers."""

    model: str
    options: Sampling
    requests: int
    answers: int
    failed: int
    tokens: int
    seconds: float
    reasons: dict[str, int]


class Lookup:
    """What a journal holds, by request. Its methods may be called in any thread."""

    _reading: sqlite3.Connection
    _one_reader: threading.Lock  # several samplers look up their requests

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._reading, self._one_reader = connection, threading.Lock()

    def is_new(self, model: str, options: Sampling) -> bool:
        """Whether nothing of that model under these options is on disk."""
        return not self._any("plan IN (SELECT id FROM plans WHERE model = ? AND options = ?)", model, _json(options))

    def missing(self, requests: Sequence[Request]) -> tuple[Request, ...]:
        """Those of the requests that have no outcome on disk. Not for what was recorded since the last `settle`."""
        with self._one_reader:
            there = {key for key, *_ in _found(self._reading, requests)}
        return tuple(request for request in requests if bytes.fromhex(request.key) not in there)

    def outcomes(self, requests: Sequence[Request]) -> list[Outcome]:
        """The outcomes on disk of these requests, in their order; nothing for those that have none."""
        with self._one_reader:
            rows = {row[0]: row for row in _found(self._reading, requests)}
        found = []
        for request in requests:
            if row := rows.get(bytes.fromhex(request.key)):
                _, task, _, answer, failure = row
                read = None if answer is None else Answer.from_json(json.loads(answer))
                found.append(Outcome(task, request, read, failure or ""))
        return found

    def _any(self, where: str, *values: Any) -> bool:
        with self._one_reader:
            found = self._reading.execute(f"SELECT EXISTS (SELECT 1 FROM outcomes WHERE {where})", values)
            return bool(found.fetchone()[0])


class Journal(Lookup):
    """A journal open for writing, by this process alone. Use as a context manager; its methods may be called anywhere.

    `on_disk`, where given, is called in the writing thread with (plan, outcome) after the commit: only then it counts.
    """

    def __init__(self, path: Path | str, on_disk: Callable[[int, Outcome], None] | None = None) -> None:
        self.path = Path(path)
        self._on_disk = on_disk
        self._fault: Exception | None = None
        self._queue: queue.Queue[tuple[int, Outcome] | threading.Event | None] = queue.Queue(WAITING)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path)
        try:
            super().__init__(_connected(self.path))
            if not self._reading.execute("PRAGMA user_version").fetchone()[0]:
                self._reading.executescript(f"{_SCHEMA} PRAGMA user_version={FORMAT};")
            _check_format(self._reading, self.path)
            self._writing = _connected(self.path)
        except sqlite3.Error as error:
            self._lock.close()
            raise DataError(f"{self.path}: no journal ({error}); name another file or move this one away") from error
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, model: str, options: Sampling, requests: int) -> int:
        """The number of the plan for a model under these options; `requests`: how many it asks in all."""
        settings = _json(options)
        with self._one_reader, self._reading:
            self._reading.execute(
                "INSERT INTO plans (model, options, requests) VALUES (?, ?, ?) "
                "ON CONFLICT (model, options) DO UPDATE SET requests = excluded.requests",
                (model, settings, requests),
            )
        found = self._reading.execute("SELECT id FROM plans WHERE model = ? AND options = ?", (model, settings))
        return found.fetchone()[0]

    def has_answers(self, plan: int) -> bool:
        """Whether any request of that plan has been answered."""
        return self._any("plan = ? AND answer IS NOT NULL", plan)

    def record(self, plan: int, outcome: Outcome) -> None:
        """Have an outcome written, and wait where too many are waiting. Raises DataError once the disk refuses."""
        while True:
            self._check()
            with contextlib.suppress(queue.Full):
                self._queue.put((plan, outcome), timeout=1.0)
                return

    def settle(self) -> None:
        """Wait until all that was recorded is on disk. Raises DataError where it cannot be."""
        done = threading.Event()
        self._queue.put(done)
        while not done.wait(0.5):
            self._check()
        self._check()

    def forget_failures(self, plan: int) -> int:
        """Take failed requests of a plan for new ones; returns how many."""
        with self._one_reader, self._reading:
            return self._reading.execute(
                "DELETE FROM outcomes WHERE plan = ? AND failure IS NOT NULL", (plan,)
            ).rowcount

    def close(self) -> None:
        """Write what is waiting, and let go of the file."""
        self._queue.put(None)
        self._writer.join(SETTLE_S)
        for connection in (self._reading, self._writing):
            connection.close()
        self._lock.close()
        self._check()

    def _check(self) -> None:
        if self._fault is not None:
            raise DataError(f"{self.path}: cannot be written ({self._fault}); free the disk and run again")

    def _write(self) -> None:
        open_end = True
        while open_end:
            first = self._queue.get()
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while first is not None and len(batch) < WAITING:
                    batch.append(first := self._queue.get_nowait())
            open_end = batch[-1] is not None
            outcomes = [item for item in batch if isinstance(item, tuple)]
            try:
                if outcomes and self._fault is None:
                    with self._writing:
                        self._writing.executemany(_INSERT, map(_row, outcomes))
                    if self._on_disk is not None:
                        for plan, outcome in outcomes:
                            self._on_disk(plan, outcome)
            except Exception as error:
                self._fault = error
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()


@contextlib.contextmanager
def read_only(path: Path | str) -> Iterator[Lookup]:
    """A journal to be looked at, also while a run writes it; nothing in it changes. Raises DataError without one."""
    with _opened(Path(path)) as connection:
        yield Lookup(connection)


def read_status(path: Path | str) -> list[PlanStatus]:
    """What a journal holds, plan by plan; also while a run writes it. Raises DataError where there is none."""
    with _opened(Path(path)) as connection:
        return [_status(connection, row) for row in connection.execute("SELECT * FROM plans ORDER BY id")]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise DataError(f"{path}: no journal there; give the folder or journal of `toolrm synth`")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            _check_format(connection, path)
            yield connection
    except sqlite3.Error as error:
        raise DataError(f"{path}: no journal ({error}); give the folder or journal of `toolrm synth`") from error


def _status(connection: sqlite3.Connection, row: tuple[Any, ...]) -> PlanStatus:
    plan, model, options, requests = row
    counts = connection.execute(
        "SELECT COUNT(answer), COUNT(failure), TOTAL(tokens), TOTAL(seconds) FROM outcomes WHERE plan = ?", (plan,)
    )
    answers, failed, tokens, seconds = counts.fetchone()
    reasons = connection.execute(
        "SELECT failure, COUNT(*) FROM outcomes WHERE plan = ? AND failure IS NOT NULL GROUP BY 1 ORDER BY 2 DESC",
        (plan,),
    )
    return PlanStatus(
        model, Sampling.from_json(json.loads(options)), requests, answers, failed, int(tokens), seconds, dict(reasons)
    )


def _json(options: Sampling) -> str:
    return json.dumps(dataclasses.asdict(options), sort_keys=True)


def _row(item: tuple[int, Outcome]) -> tuple[Any, ...]:
    plan, outcome = item
    answer = outcome.answer
    # Lone surrogates, which a server may send as escapes, stay escapes: SQLite's texts are UTF-8.
    text = None if answer is None else json.dumps(answer.to_json(), separators=(",", ":"))
    failure = None if answer is not None else outcome.failure.encode("utf-8", "backslashreplace").decode()
    key = bytes.fromhex(outcome.request.key)
    tokens, seconds = (answer.tokens, answer.seconds) if answer else (0, 0.0)
    return key, plan, outcome.task, outcome.request.sample, text, failure, tokens, seconds


def _found(connection: sqlite3.Connection, requests: Sequence[Request]) -> Iterator[tuple[Any, ...]]:
    keys = [bytes.fromhex(request.key) for request in requests]
    for start in range(0, len(keys), _LOOKED_UP):
        some = keys[start : start + _LOOKED_UP]
        yield from connection.execute(_FOUND.format(",".join("?" * len(some))), some)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        raise DataError(f"{path}: written in format {found}, this version reads {FORMAT}; name another file")


def _locked(path: Path) -> Any:
    lock = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(f"{path}: another run is writing it; wait for it, or name another folder") from None
    return lock
