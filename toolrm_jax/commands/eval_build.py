"""Build a benchmark anew from recorded answers of models to BFCL's questions.

`kind=outcome` makes one pair a question with FC-RewardBench's shares of error types, in its Arrow form; `kind=agentic`
makes several pairs a question in TRBench-BFCL's parquet form, with multi-turn runs where `multi_turn` names some.
`path` is a pool (single_turn_pool.jsonl) or a folder of BFCL's result files in either published layout.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Literal

import chz

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals import build_files, build_multi_turn, build_pairs, graded
from toolrm_jax.sources.drops import Drops

BASE = None


@chz.chz
class Config:
    """What is built of what."""

    path: str  # a pool, or a folder of BFCL's result files
    output: str  # the folder to write
    kind: Literal["outcome", "agentic"] = "outcome"
    multi_turn: str | None = None  # a folder of multi-turn runs, for kind=agentic
    without: tuple[str, ...] = ()  # models whose answers are left out
    cap: float = 0.55  # the largest share of one error type, for kind=outcome
    per_question: int = 3  # pairs a question at most, for kind=agentic
    seed: int = 0  # of every draw


def run(config: Config, overwrite: bool = False) -> int:
    """Build, write, and say what was left out."""
    if config.multi_turn and config.kind == "outcome":
        raise ConfigError("multi_turn: FC-RewardBench has single turns only; say kind=agentic")
    drops = Drops()
    answers = graded.read(Path(config.path).expanduser(), drops)
    if config.kind == "outcome":
        built = build_pairs.outcome(answers, config.seed, config.without, config.cap)
        write = build_files.write_outcome
    else:
        built = build_pairs.agentic(answers, config.per_question, config.seed, config.without)
        if config.multi_turn:
            runs = build_multi_turn.read_runs(Path(config.multi_turn).expanduser(), drops)
            built = dataclasses.replace(built, pairs=(*built.pairs, *build_multi_turn.pairs(runs, drops)))
        write = build_files.write_agentic
    if not built.pairs:
        raise ConfigError(f"path={config.path}: no question there has a right and a wrong answer; give more results")
    counted = dict(Counter(built.drops) + drops.counts)
    built = dataclasses.replace(built, drops=counted)
    write(Path(config.output).expanduser(), built, settings.as_json(config), overwrite)
    kinds = Counter(str(pair.wrong.verdict.error_type) for pair in built.pairs)
    questions = len({pair.graded.task.id for pair in built.pairs})
    print(f"{config.output}: {len(built.pairs):,} pairs of {questions:,} questions")
    for name, count in kinds.most_common():
        print(f"  {count:>6,}  {name}")
    for reason, count in sorted(counted.items()):
        print(f"  left out {count:,}: {reason}")
    return 0
