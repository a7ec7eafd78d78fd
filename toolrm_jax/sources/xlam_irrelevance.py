"""xlam-irrelevance-7.5k (Lin et al., 2024): questions of xlam-function-calling-60k whose right tool was taken away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.sources import xlam
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Task


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all files at or below `path`, in the form of xlam-function-calling-60k."""
    return xlam.read(path, drops, "xlam_irrelevance")
