"""Show what a sweep has found so far: a table, and one page with parallel coordinates and a plot of each factor."""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.sweep_page import page
from toolrm_jax.commands.sweep_table import read_found, table
from toolrm_jax.files import write_file

BASE = None


@chz.chz
class Config:
    """Which sweep, and what of it."""

    path: str  # the output of `toolrm sweep`
    metric: str | None = None  # of the held-out groups; None: the sweep's own
    output: str | None = None  # the page; None: sweep.html in that folder


def run(config: Config, overwrite: bool = False) -> int:
    """Print the table and write the page."""
    found = read_found(Path(config.path), config.metric)
    print("\n".join(table(found)))
    output = Path(config.output) if config.output else found.folder / "sweep.html"
    write_file(output, page(found))
    print(f"\npage: {output}")
    return 0
