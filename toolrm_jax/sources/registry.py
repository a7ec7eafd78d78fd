"""Reading a source by its name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.errors import ConfigError
from toolrm_jax.sources.catalogue import NO_LICENCE, SOURCES, Answers, Source
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Group, Task

__all__ = ["NO_LICENCE", "SOURCES", "Answers", "Drops", "Source", "read", "read_candidates", "source"]


def source(name: str) -> Source:
    """The source of that name. Raises ConfigError, with the nearest name, for an unknown one."""
    if name not in SOURCES:
        nearest = difflib.get_close_matches(name, SOURCES, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"unknown source {name!r}; known: {', '.join(SOURCES)}{hint}")
    return SOURCES[name]


def read(
    name: str, path: str | Path | None = None, *, drops: Drops | None = None, strict: bool = False
) -> Iterator[Task]:
    """Tasks of the source called `name`, from a file, a folder or `hf://datasets/owner/name`.

    An item that is bad is counted in `drops` under its reason, or is a DataError with `strict`. Raises ConfigError
    for an unknown name, DataError where the source itself is missing or not readable.
    """
    return source(name).read(path, _counting(drops, strict))


def read_candidates(
    name: str, path: str | Path | None = None, *, drops: Drops | None = None, strict: bool = False
) -> Iterator[Group]:
    """Labelled candidates of the source called `name`, as groups; otherwise like `read`."""
    return source(name).read_candidates(path, _counting(drops, strict))


def _counting(drops: Drops | None, strict: bool) -> Drops:
    drops = Drops() if drops is None else drops
    drops.strict = drops.strict or strict
    return drops
