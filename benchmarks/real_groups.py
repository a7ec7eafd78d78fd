"""Real contexts and answers for the benchmarks beside this file: BFCL's questions and the Schema-Guided Dialogues.

BFCL's questions come with the package bfcl-eval; real models' answers to them (`bfcl_outputs`) and the dialogues
(`sgd`) lie below TOOLRM_DATA, the Qwen3 tokenizer below TOOLRM_MODELS, as for the tests.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.store import encode
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.seeding import seeded
from toolrm_jax.sources.registry import read, read_candidates
from toolrm_jax.toolcalls.types import Candidate, Group, Task, Verdict

ALL_TOOLS = 10_000


def folder(variable: str, default: str, name: str) -> Path:
    """Where data or models lie. Where they do not, the benchmark ends with a line that says what it needs."""
    path = Path(os.environ.get(variable) or f"~/.cache/{default}").expanduser() / name
    if not path.exists():
        raise SystemExit(f"{path}: is absent, and this benchmark needs it; put it there or set {variable}")
    return path


def qwen3() -> Chat:
    """The tokenizer and chat template of Qwen3."""
    return Chat.load(folder("TOOLRM_MODELS", "toolrm-models", "qwen3-tokenizer"))


def sgd_tasks(count: int) -> list[Task]:
    """Tasks of the dialogues, of many files: of each in turn."""
    every = sorted(folder("TOOLRM_DATA", "toolrm-data", "sgd").glob("train/dialogues_*.json"))
    files = every[:: max(1, 32 * len(every) // count)]
    found: list[Task] = []
    for file in files:
        found += islice(read("sgd", file), max(1, -(-count // len(files))))
    return sorted(found, key=lambda task: seeded(0, "benchmark", task.id).random())[:count]


def sgd_groups(count: int, mistakes: int) -> list[Group]:
    """Tasks with the answer that was given and mistakes made from it; contexts as they come."""
    recipe = Recipe(mistakes=mistakes, joined=0.0, max_tools=ALL_TOOLS)
    return list(make_groups(sgd_tasks(count), recipe, seed=0).groups)


def bfcl_groups() -> Iterator[Group]:
    """BFCL's questions with answers of real models and BFCL's verdict on each."""
    return read_candidates("bfcl_outputs", folder("TOOLRM_DATA", "toolrm-data", "bfcl_outputs"))


def bfcl_pairs(count: int) -> list[Group]:
    """A right and a wrong answer of real models to one question each."""
    pairs = (pair for group in bfcl_groups() if (pair := one_pair(group)))
    return sorted(pairs, key=lambda group: seeded(0, "benchmark", group.task.id).random())[:count]


def one_pair(group: Group) -> Group | None:
    """The group with one answer of each verdict, drawn; None where it has not both."""
    draw = seeded(0, "pair", group.task.id)
    sides = [
        [i for i, verdict in enumerate(group.verdicts) if verdict.right == right and group.candidates[i].calls]
        for right in (True, False)
    ]
    return of(group, [draw.choice(side) for side in sides]) if all(sides) else None


def of(group: Group, chosen: Iterable[int]) -> Group:
    """The group with these candidates alone."""
    members = [(group.candidates[i], group.verdicts[i]) for i in chosen]
    candidates, verdicts = zip(*members)
    return dataclasses.replace(group, candidates=candidates, verdicts=verdicts, choices=())


def bfcl_many(contexts: int, answers: int) -> list[Group]:
    """The questions with the most unlike real answers, `answers` each; made mistakes fill up where there are fewer."""
    groups = sorted(bfcl_groups(), key=lambda group: (-len(group.candidates), group.task.id))[:contexts]
    made = make_groups(
        [group.task for group in groups], Recipe(mistakes=2 * answers, joined=0.0, max_tools=ALL_TOOLS), seed=0
    )
    more = {group.task.id: group for group in made.groups}
    found = []
    for group in groups:
        members: list[tuple[Candidate, Verdict]] = list(zip(group.candidates, group.verdicts))
        if filling := more.get(group.task.id):
            members += list(zip(filling.candidates, filling.verdicts))[1:]
        if len(members) >= answers:
            candidates, verdicts = zip(*members[:answers])
            found.append(dataclasses.replace(group, candidates=candidates, verdicts=verdicts, choices=()))
    return found


def encoded(chat: Chat, groups: Iterable[Group], longest: int) -> list[TokenGroup]:
    """As tokens, without those whose context and an answer have more than `longest`."""
    made = (encode(chat, group) for group in groups)
    return [group for group in made if len(group.context) + max(map(len, group.responses)) <= longest]


def renumbered(groups: list[TokenGroup]) -> tuple[list[TokenGroup], int]:
    """The groups in a vocabulary of the tokens they have (0 is none of them, for padding), and its size.

    A small model with all of Qwen3's 151,669 tokens would be an embedding with a little computation beside it.
    """
    known = np.unique(np.concatenate([ids for group in groups for ids in (group.context, *group.responses)]))
    new = lambda ids: (np.searchsorted(known, ids) + 1).astype(np.int32)  # noqa: E731
    renamed = [
        dataclasses.replace(group, context=new(group.context), responses=tuple(map(new, group.responses)))
        for group in groups
    ]
    return renamed, -(-(len(known) + 1) // 64) * 64


def qwen3_shape(hidden: int, layers: int, vocabulary: int) -> TrunkConfig:
    """A Qwen3 of the smallest one's proportions: heads of 64, half as many for keys, an MLP three times as wide."""
    heads = hidden // 64
    return TrunkConfig(
        *("qwen3", vocabulary, hidden, 3 * hidden, layers, heads, max(1, heads // 2), 64, 1e6, 1e-6, 40960, True)
    )
