"""Look at a folder of groups: its card as tables here, and samples (context, answers, scores, why) as one HTML page."""

from __future__ import annotations

import shutil
from pathlib import Path

import chz

from toolrm_jax.errors import ConfigError
from toolrm_jax.files import write_file
from toolrm_jax.preferences.browse import card_lines, page, samples
from toolrm_jax.preferences.shards import read_groups

BASE = None


@chz.chz
class Config:
    """Which folder, and how much of it."""

    path: str  # a folder of groups: what `toolrm prepare` wrote
    output: str | None = None  # the page; None: PATH.html
    samples: int = 60  # groups on the page, of each source and error type in turn
    seed: int = 0  # of which ones


def run(config: Config, overwrite: bool = False) -> int:
    """Write the page, in place of an earlier one, and print the tables."""
    if config.samples < 1:
        raise ConfigError(f"samples={config.samples}: give at least 1")
    folder = Path(config.path)
    groups = read_groups(folder)
    output = Path(config.output) if config.output else folder.with_name(f"{folder.name}.html")
    write_file(output, page(groups.card, samples(groups, config.samples, config.seed), str(folder)))
    for line in card_lines(groups.card, shutil.get_terminal_size((118, 40)).columns):
        print(line)
    print(f"\n{output}: {min(config.samples, len(groups))} samples")
    return 0
