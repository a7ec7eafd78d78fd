"""A clean stop: the first SIGINT or SIGTERM asks the loop to save and leave, the second acts at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 75  # exit code: stopped cleanly by a signal, start me again (EX_TEMPFAIL)


class StopRequest:
    """Whether a signal has asked for a stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Inside, SIGINT and SIGTERM set `.asked` on the yielded value; the handlers before are put back on leaving."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
