"""Your own dialogues, in OpenAI's form: one JSON object a line, {"tools": […], "messages": […]}.

Each assistant message becomes a task, whose reference is what the assistant did there: keep to dialogues that went
well. `tools` in OpenAI's form are what `toolrm import-tools` writes. `id` and `category` may stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.dialogues import Row, read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "LicenseRef-own"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`."""
    return read_dialogues(path, drops, "own", LICENCE, _category)


def _category(row: Row, file: Path) -> str:
    return str(row.get("category", "dialogue"))
