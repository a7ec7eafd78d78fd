"""APIGen-MT-5k (Prabhakar et al., 2025): agents of a shop and an airline with a policy, as simulated for tau-bench.

ShareGPT with `function_call` and `observation` turns; `tools` is a JSON string and `system` the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources.dialogues import Row, read_dialogues
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task

LICENCE = "CC-BY-NC-4.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`."""
    return read_dialogues(path, drops, "apigen_mt", LICENCE, _domain)


def _domain(row: Row, file: Path) -> str:
    return "airline" if "airline" in str(row.get("system", "")).lower() else "retail"
