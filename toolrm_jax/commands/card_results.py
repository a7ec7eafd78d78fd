"""What an evaluation found, as lines of a model card: just made, or saved by `toolrm eval` in either of its forms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.commands import settings
from toolrm_jax.commands.eval import ONLY_MADE
from toolrm_jax.commands.trained import is_checkpoint, is_run, run_config
from toolrm_jax.converters.expected import SUFFIX
from toolrm_jax.converters.model_card import Metric
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.metrics import accuracy
from toolrm_jax.evals.report import Evaluation, RunReport
from toolrm_jax.evals.results import RESULTS, Suite, load
from toolrm_jax.files import json_hash

REPORT = "report.json"
Results = tuple[tuple[Metric, ...], tuple[str, ...]]
"""Lines of the card's table, and sentences on what they do not say."""


def evaluation_metrics(evaluations: Iterable[Evaluation]) -> tuple[Metric, ...]:
    """Every judge's accuracy on each of them."""
    return tuple(
        Metric(each.name, result.judge, 100 * found.value, 100 * found.low, 100 * found.high, found.tasks)
        for each in evaluations
        for result in each.results
        if (found := accuracy(result.outcomes)) is not None
    )


def evaluation_limits(evaluations: Iterable[Evaluation]) -> tuple[str, ...]:
    """What these numbers do not say."""
    return () if any(each.real for each in evaluations) else (ONLY_MADE,)


def saved_results(folder: Path, run: Path) -> Results:
    """What `toolrm eval` left in its output folder, of `held_out=` and `pairs=` or of `benchmark=`.

    Raises DataError where there are none, ConfigError where another model than that of the run was judged.
    """
    if (folder / RESULTS).is_file():
        suite = load(folder)
        _check_model(suite.config, run, folder)
        return tuple(_suite_metrics(suite)), ()
    file = folder / REPORT
    try:
        report = RunReport.from_json(json.loads(file.read_bytes())["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: no results ({error}); give the output folder of `toolrm eval`") from None
    _check_model(report.config, run, folder)
    return evaluation_metrics(report.evaluations), evaluation_limits(report.evaluations)


def _suite_metrics(suite: Suite) -> Iterator[Metric]:
    for judged in suite.judged:
        for result in judged.results:
            for one in result.headlines:
                if one.unit == "%":  # the table's unit; what else there is, the evaluation's own report shows
                    name = f"{judged.benchmark}: {result.metric}, {one.part + ': ' if one.part else ''}{one.name}"
                    low, high = (None if end is None else 100 * end for end in (one.low, one.high))
                    yield Metric(name, result.judge, 100 * one.value, low, high, one.n)


def _check_model(config: dict[str, Any], run: Path, folder: Path) -> None:
    """A card says nothing of another model: the one judged must be the run, or an export of it."""
    model = config.get("model")
    if not isinstance(model, str):
        raise ConfigError(f"eval={folder}: does not say which model was judged; judge {run} and give that folder")
    if _training(Path(model).expanduser()) != _training(run):
        raise ConfigError(f"eval={folder}: {model} was judged there, not {run}; give the evaluation of this run")


def _training(folder: Path) -> str | None:
    """The hash of the training config that a run's, a checkpoint's or an exported folder comes from."""
    run = folder.parent.parent if is_checkpoint(folder) else folder
    if is_run(run):
        return json_hash(settings.as_json(run_config(run)))
    try:
        about = json.loads((folder / "toolrm.json").read_bytes())
        return next(about[task]["training_config_hash"] for task in SUFFIX if task in about)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
