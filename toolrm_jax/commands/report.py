"""Lay evaluations side by side on one page.

`path` names the output folders of `toolrm eval benchmark=…`, separated by commas. Beside the page (self-contained HTML)
stand the same numbers as Markdown, and `model_index.json`, Hugging Face's metadata for a model card, of the first.
With `card`, a folder that was evaluated after its export, that metadata is written into its model card too, which
`toolrm push` uploads.
"""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.card_results import write_index
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.results import load
from toolrm_jax.evals.suite_report import write_suite_report

BASE = None


@chz.chz
class Config:
    """Which results, and where the page goes."""

    path: tuple[str, ...]  # output folders of `toolrm eval benchmark=…`
    output: str | None = None  # the page; None: report.html in the first of them
    card: str | None = None  # an exported folder whose model card gets the first one's metadata


def run(config: Config, overwrite: bool = False) -> int:
    """Write the page."""
    if not config.path:
        raise ConfigError("report: no results are named; give path= one or more output folders of `toolrm eval`")
    suites = [load(Path(path).expanduser()) for path in config.path]
    output = Path(config.output) if config.output else Path(config.path[0]).expanduser() / "report.html"
    written = write_suite_report(output, suites)
    print(f"report: {written}")
    if config.card is not None:
        print(f"model card: {write_index(Path(config.card).expanduser(), suites[0])}")
    return 0
