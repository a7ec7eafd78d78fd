"""Rows that the papers published, beside which our own stand where both measured the same thing.

`trbench_published.csv`: the results table of arXiv 2510.26167 v2, 37 rows, with both averages recomputed.
`fcrb_published.csv`: what is known of arXiv 2509.11963's bar chart, mostly second-hand; few rows have a number.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

from toolrm_jax.evals.benchmark import BOTH, SINGLE, Published

TRBENCH_SPLITS = ("S", "M", "P", "PM", "LS", "LM", "LP", "LPM", "MTB")
TRBENCH_SOURCE = "arXiv 2510.26167 v2, results table"
FCRB_SOURCE = "arXiv 2509.11963, second-hand"
PAIRWISE = "pairwise accuracy (%)"


@functools.cache
def trbench() -> tuple[Published, ...]:
    """The nine splits, Avg and W-Avg of every row, as shares. Scalar models: single order; all others: both orders."""
    found = []
    for row in _rows("trbench_published.csv"):
        values = {name: float(row[name]) / 100 for name in TRBENCH_SPLITS}
        values |= {"Avg": float(row["Avg_published"]) / 100, "W-Avg": float(row["WAvg_published"]) / 100}
        metric = SINGLE if row["kind"] == "scalar" else BOTH
        found.append(Published(row["model"], metric, values, TRBENCH_SOURCE, row["note"]))
    return tuple(found)


@functools.cache
def fc_rewardbench() -> tuple[Published, ...]:
    """Rows with a number measured as ours are: pairwise accuracy. Ranges, orderings and other metrics are left out."""
    found = []
    for row in _rows("fcrb_published.csv"):
        if row["metric"] == PAIRWISE and row["accuracy"].replace(".", "", 1).isdigit():
            note = f"{row['value_status']}; {row['note']}"
            found.append(Published(row["model"], SINGLE, {"overall": float(row["accuracy"]) / 100}, FCRB_SOURCE, note))
    return tuple(found)


def _rows(name: str) -> list[dict[str, str]]:
    with open(Path(__file__).with_name(name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
