"""ComplexFuncBench (Zhong et al., 2025): travel requests that take several real calls in several steps.

`functions`, and `conversations` with `function_call` lists of the assistant and `observation` lists of results.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.dialogues import Row, read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "Apache-2.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`; the category is the domain that the id begins with."""
    return read_dialogues(path, drops, "complexfuncbench", LICENCE, _domain)


def _domain(row: Row, file: Path) -> str:
    return str(row.get("id", "")).rpartition("-")[0] or "unknown"
