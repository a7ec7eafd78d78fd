"""What an evaluation found, in a model card: as lines of its table, which an export writes, and as the hub's metadata.

The metadata, `model-index`, is written into the card of a folder that was evaluated after its export. It is one line of
the card's front matter, replaced when it is written again; nothing else of the card is touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.commands import settings
from toolrm_jax.commands.eval import ONLY_MADE
from toolrm_jax.commands.trained import is_checkpoint, is_run, run_config
from toolrm_jax.converters.model_card import Metric
from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.evals.metrics import accuracy
from toolrm_jax.evals.report import Evaluation, RunReport
from toolrm_jax.evals.results import RESULTS, Suite, load, model_index
from toolrm_jax.files import json_hash, write_file

CARD, REPORT = "README.md", "report.json"
_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
# Other programs write it as a block.
_INDEX = re.compile(r"^model-index:.*\n(?:[ -].*\n)*", re.MULTILINE)
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


def write_index(folder: Path, suite: Suite) -> Path:
    """Put the results' metadata into the card of `folder`; returns its path.

    Raises ModelError for a folder without a card, ConfigError for results of another model, or of none.
    """
    card = folder / CARD
    if not card.is_file() or not (front := _FRONT.match(text := card.read_text(encoding="utf-8"))):
        raise ModelError(f"{card}: no model card with front matter; give a folder that `toolrm export` wrote")
    judged = Path(suite.model).expanduser()
    if judged.resolve() != folder.resolve() and not ((of := _training(folder)) and _training(judged) == of):
        raise ConfigError(f"{folder}: the results are of {suite.model}, not of this model; judge it, or its run, first")
    index = model_index(suite, folder.resolve().name)
    if not index:
        raise ConfigError(f"{folder}: the results hold no number of this model; judge it on a benchmark first")
    # JSON values are YAML values.
    fields = _INDEX.sub("", front[1]) + f"model-index: {json.dumps(index, ensure_ascii=False)}\n"
    write_file(card, f"---\n{fields}---\n{text[front.end() :]}")
    return card


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
    """The hash of the training config that a run's, a checkpoint's or an exported reward model's folder comes from."""
    run = folder.parent.parent if is_checkpoint(folder) else folder
    if is_run(run):
        return json_hash(settings.as_json(run_config(run)))
    try:
        return str(json.loads((folder / "toolrm.json").read_bytes())["reward"]["training_config_hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
