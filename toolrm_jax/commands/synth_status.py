"""What a journal of `toolrm synth` holds: per model, what is done and failed and why; also while a run writes it.

toolrm synth status path=runs/synth
"""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.synth_table import aligned
from toolrm_jax.synth.journal import read_status

BASE = None
JOURNAL = "journal.sqlite"


@chz.chz
class Config:
    """Which journal."""

    path: str  # the folder of a run, or its journal


def run(config: Config, overwrite: bool = False) -> int:
    """Print a line for each model and set of options."""
    path = Path(config.path)
    statuses = read_status(path / JOURNAL if path.is_dir() else path)
    rows = [("model", "requests", "answered", "failed", "left", "tokens each", "seconds each", "temperature", "top_p")]
    for status in statuses:
        each = max(status.answers, 1)
        left = max(status.requests - status.answers - status.failed, 0)
        counts = (f"{count:,}" for count in (status.requests, status.answers, status.failed, left))
        means = (f"{status.tokens / each:,.1f}", f"{status.seconds / each:,.2f}")
        rows.append((status.model, *counts, *means, f"{status.options.temperature:g}", f"{status.options.top_p:g}"))
    print("\n".join(aligned(rows)))
    for status in statuses:
        for reason, count in list(status.reasons.items())[:10]:
            print(f"{status.model}: failed: {count:,} {reason}")
    return 0
