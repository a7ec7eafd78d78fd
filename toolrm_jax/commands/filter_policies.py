"""Does a policy gain from a reward model's choice of its training set? One config, one table (arXiv 2509.11963).

`toolrm filter` chooses: the best answers, as many at random, all. A policy is trained on each, answers the same
contexts, and is compared with the backbone as it was before. Stopped or killed, the command goes on where it was when
it is given again: every part is a folder of a command of its own.

OUTPUT/filtered                 what was chosen (`toolrm filter`)
OUTPUT/policies/NAME/run, model the policy trained on it (`toolrm train task=sft`, `toolrm export`)
OUTPUT/answers/NAME             what it answers, graded (`toolrm synth`)
OUTPUT/policies.json            the table
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import chz

from toolrm_jax.commands import export as exporting
from toolrm_jax.commands import filter as filtering
from toolrm_jax.commands import settings, synth
from toolrm_jax.commands.synth_groups import GROUPS
from toolrm_jax.commands.synth_table import aligned
from toolrm_jax.commands.train import train
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.filtering import ALL, RANDOM, TOP, PolicyResult, policy_result
from toolrm_jax.files import write_file
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.train.config import TrainConfig
from toolrm_jax.train.signals import STOPPED

BASE = "eval_filter"
TABLE = "policies.json"
UNTRAINED = "untrained"
OWN = ("filter.output", "train.output", "train.data.train", "answers.output")
"""Settings that this command makes from `output`; in its configs they are empty."""


@chz.chz
class Config:
    """Three selections, three policies, one set of contexts. The paths named in OWN stay empty."""

    output: str  # the folder of everything
    filter: filtering.Config
    train: TrainConfig  # of each policy; task=sft
    answers: synth.Config  # the contexts that the policies answer, and how; its one model entry stands for each of them
    export_dtype: str = "bfloat16"  # of the policies' weights


def run(config: Config, overwrite: bool = False) -> int:
    """Choose, train, answer, and print the table; 75 if a signal stopped one of these."""
    _check(config)
    output = Path(config.output).expanduser()
    chosen = output / "filtered"
    filtering.run(chz.replace(config.filter, output=str(chosen)), overwrite)
    results = []
    for name in (UNTRAINED, TOP, RANDOM, ALL):
        weights = config.train.model.path if name == UNTRAINED else _policy(config, name, output, overwrite)
        if weights is None or not _answered(config, name, weights, output, overwrite):
            return STOPPED
        results.append(policy_result(name, list(read_groups(output / "answers" / name / GROUPS))))
    rows = [result.to_json() for result in results]
    write_file(output / TABLE, json.dumps({"config": settings.as_json(config), "policies": rows}, indent=1) + "\n")
    _print(results, json.loads((chosen / filtering.TABLE).read_bytes())["selections"])
    return 0


def _check(config: Config) -> None:
    values = settings.leaves(config)
    if by_hand := [name for name in OWN if values[name]]:
        raise ConfigError(f"{by_hand[0]}: this command sets it itself; say output= instead")
    if config.train.task != "sft":
        raise ConfigError(f"train.task={config.train.task}: a policy is trained with task=sft")
    if len(config.answers.models) != 1 or config.answers.models[0].servers or config.answers.models[0].recorded:
        raise ConfigError("answers.models: give one entry, without servers: each policy answers in its place")


def _policy(config: Config, name: str, output: Path, overwrite: bool) -> str | None:
    """The exported policy of that selection; None if a signal stopped its training."""
    folder = output / "policies" / name
    run_folder, model = folder / "run", folder / "model"
    data = chz.replace(config.train.data, train=str(output / "filtered" / name))
    if not train(chz.replace(config.train, output=str(run_folder), data=data), overwrite):
        return None
    exporting.run(exporting.Config(checkpoint=str(run_folder), output=str(model), dtype=config.export_dtype), overwrite)
    return str(model)


def _answered(config: Config, name: str, weights: str, output: Path, overwrite: bool) -> bool:
    """Whether the policy answered all contexts; False if a signal stopped it."""
    entry = chz.replace(config.answers.models[0], name=name, weights=weights)
    asked = chz.replace(config.answers, output=str(output / "answers" / name), models=(entry,))
    return synth.run(asked, overwrite) != STOPPED


def _print(results: Sequence[PolicyResult], selections: dict[str, dict]) -> None:
    rows = [("trained on", "answers", "mean score", "right answers, %", "contexts")]
    for one in results:
        selection = selections.get(one.name, {})
        score = f"{selection['mean score']:+.3f}" if selection else "—"
        rows.append((one.name, f"{selection.get('answers', 0):,}", score, one.accuracy.shown, f"{one.accuracy.n:,}"))
    print("\n".join(aligned(rows)))
