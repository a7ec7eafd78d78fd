"""The page of one or several evaluations side by side: every number with its interval and n, plots, hardest pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.evals.report import rendered
from toolrm_jax.evals.results import Suite, model_index
from toolrm_jax.evals.suite_markdown import markdown
from toolrm_jax.evals.suite_view import labels, overview, section
from toolrm_jax.files import write_file

INDEX = "model_index.json"


def write_suite_report(path: Path | str, suites: Sequence[Suite]) -> Path:
    """Write `path` (HTML) and beside it the same numbers: `.md`, and `model_index.json` of the first run's model."""
    path = Path(path)
    names = list(dict.fromkeys(one.benchmark for suite in suites for one in suite.judged))
    runs = list(zip(labels(suites), suites))
    sections = [section(name, runs, place) for place, name in enumerate(names)]
    html = rendered(
        "suite.html.jinja",
        title=" and ".join(dict.fromkeys(suite.model for suite in suites)),
        runs=runs,
        several=len(suites) > 1,
        overview=overview(names, runs),
        sections=sections,
        configs=[json.dumps(suite.config, indent=2, ensure_ascii=False) for suite in suites],
    )
    write_file(path.with_suffix(".md"), markdown(sections, runs))
    index = path.with_name(INDEX)
    if found := model_index(suites[0], Path(suites[0].model).name):
        write_file(index, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    else:
        index.unlink(missing_ok=True)
    write_file(path, html)
    return path
