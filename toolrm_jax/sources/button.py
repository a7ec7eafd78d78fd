"""BUTTONInstruct (Chen et al., 2024): composed tasks over several calls, also in parallel.

The system message holds the tools in `<tool>`; the assistant thinks in words and calls in one `<call>` list, or ends
with `<final>`; a tool message is the list of the calls with their `results`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.dialogues import read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "none stated"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`."""
    return read_dialogues(path, drops, "button", LICENCE, lambda row, file: "multi_turn")
