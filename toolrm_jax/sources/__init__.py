"""Readers that turn published data sets into Tasks, by name."""

import difflib
import importlib
from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.errors import ConfigError
from toolrm_jax.toolcalls.types import Task

NAMES = ("bfcl",)
"""Known sources; each is a module of this package with `read(path=None) -> Iterator[Task]`."""


def read(name: str, path: str | Path | None = None) -> Iterator[Task]:
    """Tasks of the source called `name`, from the folder `path` (None: where the source is usually found).

    Raises ConfigError for an unknown name, DataError where the data are missing or malformed.
    """
    if name not in NAMES:
        nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"unknown source {name!r}; known: {', '.join(NAMES)}{hint}")
    return importlib.import_module(f"toolrm_jax.sources.{name}").read(path)
