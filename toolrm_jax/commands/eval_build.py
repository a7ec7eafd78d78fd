"""Build a benchmark anew from recorded answers of models to BFCL's questions.

`kind=outcome` makes one pair a question with FC-RewardBench's shares of error types, in its Arrow form; `kind=agentic`
makes several pairs a question in TRBench-BFCL's parquet form, with multi-turn runs where `multi_turn` names some.
`path` is a pool (single_turn_pool.jsonl) or a folder of BFCL's result files in either published layout. With `dev`
there are two benchmarks, OUTPUT/dev and OUTPUT/test, that share no function.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import chz

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals import build_files, build_multi_turn, build_pairs
from toolrm_jax.sources.bfcl_outputs import read_graded
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
    cap: float | None = None  # the largest share of one error type; None: 0.55 for outcome, for agentic as they come
    per_question: int | None = None  # pairs a question at most, for kind=agentic; None: 3
    dev: float | None = None  # share of the questions for OUTPUT/dev, the others for OUTPUT/test; None: no split
    seed: int = 0  # of every draw


def run(config: Config, overwrite: bool = False) -> int:
    """Build, write, and say what was left out."""
    drops = Drops()
    built = _build(config, drops)
    if not built.pairs:
        raise ConfigError(f"path={config.path}: no question there has a right and a wrong answer; give more results")
    built = build_pairs.Built(built.pairs, dict(Counter(built.drops) + drops.counts))
    sides = {"": built} if config.dev is None else build_pairs.sides(built, config.dev, config.seed)
    write = build_files.write_outcome if config.kind == "outcome" else build_files.write_agentic
    write(Path(config.output).expanduser(), sides, settings.as_json(config), overwrite)
    for name, side in sides.items():
        _print(Path(config.output) / name, side)
    for reason, count in sorted(built.drops.items()):
        print(f"  left out {count:,}: {reason}")
    return 0


def _build(config: Config, drops: Drops) -> build_pairs.Built:
    answers = read_graded(Path(config.path).expanduser(), drops)
    if config.kind == "outcome":
        if config.multi_turn:
            raise ConfigError("multi_turn: FC-RewardBench has single turns only; say kind=agentic")
        if config.per_question is not None:
            raise ConfigError("per_question: FC-RewardBench has one pair a question; say kind=agentic")
        cap = build_pairs.OUTCOME_CAP if config.cap is None else config.cap
        return build_pairs.outcome(answers, config.seed, config.without, cap)
    turns = ()
    if config.multi_turn:
        runs = build_multi_turn.read_runs(Path(config.multi_turn).expanduser(), drops)
        turns = tuple(build_multi_turn.pairs(runs, drops))
    per_question = build_pairs.PER_QUESTION if config.per_question is None else config.per_question
    cap = 1.0 if config.cap is None else config.cap
    return build_pairs.agentic(answers, per_question, config.seed, config.without, cap, turns)


def _print(where: Path, built: build_pairs.Built) -> None:
    questions = len({pair.graded.task.id for pair in built.pairs})
    print(f"{where}: {len(built.pairs):,} pairs of {questions:,} questions")
    for name, count in Counter(str(pair.wrong.verdict.error_type) for pair in built.pairs).most_common():
        print(f"  {count:>6,}  {name}")
