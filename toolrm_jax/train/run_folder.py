"""What a run's folder holds, as seen without reading it."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = "checkpoints"


def saved_steps(run: Path) -> list[int]:
    """The steps of the whole checkpoints of a run, in order; none where it has saved nothing yet."""
    folder = run / CHECKPOINTS
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []
