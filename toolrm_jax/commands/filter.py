"""Score a training set with a reward model and keep its best answers, as many at random, and all of them.

`groups` is a folder that `prepare` wrote. Three folders of groups come out, `top`, `random` and `all`, each with the
one answer of every task that a policy would be trained on. `toolrm filter policies` trains a policy on each and
compares them (arXiv 2509.11963 does so with 16,000 answers and the best 8,000).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import chz

from toolrm_jax.commands import settings
from toolrm_jax.commands.eval import identity_of
from toolrm_jax.commands.remembered import remembered
from toolrm_jax.commands.trained import open_reward_model
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.filtering import Chosen, select, single_answers
from toolrm_jax.evals.handrule import HAND_RULE
from toolrm_jax.evals.judges import reward_judge
from toolrm_jax.evals.scores import unread_note
from toolrm_jax.files import write_file
from toolrm_jax.preferences.card import card_hash, new_card, read_card
from toolrm_jax.preferences.shards import read_groups, write_groups

BASE = None
TABLE = "filter.json"


@chz.chz
class Config:
    """What is scored, with what, and how much is kept."""

    groups: str  # a folder of groups; a folder `train` within it is taken where it has one
    output: str  # the folder for top, random and all
    model: str | None = None  # an exported folder, or a run's; None: the hand rule, which needs no model
    keep: int | None = None  # answers to keep; None: half of them
    seed: int = 0  # of every draw
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # bfloat16 is faster on accelerators and less exact


def run(config: Config, overwrite: bool = False) -> int:
    """Score, choose, write, and print what was chosen."""
    folder = Path(config.groups).expanduser()
    folder = folder / "train" if (folder / "train").is_dir() else folder
    output = Path(config.output).expanduser()
    everything = list(read_groups(folder))
    groups = single_answers(everything)
    if len(groups) < 2:
        raise DataError(f"{folder}: {len(groups)} tasks have a right answer to train on; there is nothing to filter")
    if config.keep is not None and config.keep < 1:
        raise ConfigError(f"keep={config.keep}: give at least 1")
    judge = HAND_RULE
    if config.model is not None:
        opened = open_reward_model(config.model)
        made = reward_judge(opened.model, opened.chat, config.compute_dtype)
        judge = remembered(made, output / "scores", identity_of(opened, config.compute_dtype))
    scores = judge(groups)
    if unread := unread_note(scores, "they come last"):
        print(f"{judge.name}: {unread}")
    chosen = select(groups, scores, config.keep or len(groups) // 2, config.seed)
    inputs = {"groups": card_hash(read_card(folder))}
    drops = {"no right answer to train on": len(everything) - len(groups)}
    for one in chosen:
        card = new_card(settings.as_json(config, "output") | {"selection": one.name}, inputs, drops, {})
        write_groups(output / one.name, one.groups, card, overwrite=overwrite)
    write_file(output / TABLE, json.dumps(_table(chosen, judge.name), indent=1) + "\n")
    _print(chosen)
    return 0


def _table(chosen: tuple[Chosen, ...], judge: str) -> dict:
    rows = {one.name: {"answers": len(one.groups), "mean score": one.mean_score, **one.sources} for one in chosen}
    return {"judge": judge, "selections": rows}


def _print(chosen: tuple[Chosen, ...]) -> None:
    for one in chosen:
        sources = ", ".join(f"{name} {count:,}" for name, count in one.sources.items())
        print(f"  {one.name:<7} {len(one.groups):>8,} answers, mean score {one.mean_score:+.3f}   ({sources})")
