"""Numbers for TensorBoard, written as they come, in the thread that has them: where the disk is full, it is told."""

from __future__ import annotations

import time
from pathlib import Path

FRESH = 10.0
"""Seconds after which what was written is seen by a TensorBoard that looks on."""


class Board:
    """An event file in `folder`. Points from step `start` on that are there already count for nothing.

    tensorboardX's own SummaryWriter hands events to a thread; once that has failed, the queue to it fills up, and the
    run stands still.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self.events = EventsWriter(str(folder / "events"))
        self.events.write_event(Event(step=start, session_log=SessionLog(status=SessionLog.START)))
        self.flushed = time.monotonic()

    def write(self, name: str, value: float, step: int) -> None:
        """One point of the curve `name`. Raises OSError."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        self.events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        if time.monotonic() - self.flushed > FRESH:
            self.events.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left. Raises OSError."""
        self.events.close()
