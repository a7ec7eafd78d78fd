"""Answers to choose from, read from wherever they lie: recorded ones, result files, or groups that were sampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.errors import DataError
from toolrm_jax.evals import best_of_n, fc_rewardbench, trbench
from toolrm_jax.evals.benchmark import Benchmark, is_live
from toolrm_jax.evals.rebuilt import TRBENCH, rebuilt
from toolrm_jax.files import CARD
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.sources.bfcl_outputs import read_graded
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.types import Group

LIVE_SIZES = (1, 2, 4, 8)
"""Few models answered the live questions."""


def read(path: Path | str, sizes: Sequence[int] = ()) -> tuple[Benchmark, ...]:
    """Best-of-n benchmarks: of a folder of groups, or of recorded answers to BFCL (live and non-live apart)."""
    path = Path(path)
    if (path / CARD).is_file():
        found = best_of_n.from_answers(read_groups(path), candidate_key)
        most = max((one.drawn for one in found), default=0)
        if not most:
            raise DataError(f"{path}: holds no sampled answers; give the groups of `toolrm synth`")
        usual = tuple(n for n in best_of_n.SIZES if n <= most)
        note = "Sampled answers of a policy; right is what the task's own comparison accepts."
        return (best_of_n.benchmark("best of n", found, note, sizes or usual),)
    note = (
        "Recorded answers of many models, each of which answered once, as the samples; right is what BFCL's checker "
        "accepts. None of them is greedy: that row needs samples of one policy."
    )
    parts: dict[bool, list[best_of_n.Samples]] = {False: [], True: []}
    for one in read_graded(path):
        parts[is_live(one.task.category)].append(best_of_n.Samples(one.group(), one.counts()))
    made = []
    for live, found in parts.items():
        usual = LIVE_SIZES if live else best_of_n.SIZES
        if any(one.drawn >= max(sizes or usual) for one in found):
            name = f"best of n, BFCL {'live' if live else 'non-live'}"
            made.append(best_of_n.benchmark(name, found, note, sizes or usual))
    if not made:
        raise DataError(f"{path}: no question there has enough answers; give more result files or fewer n")
    return tuple(made)


def read_groups_folder(path: Path | str) -> Benchmark:
    """A folder of groups that `prepare` wrote."""
    groups = tuple(group for group in read_groups(path))
    note = "Wrong answers made by rules for held-out tasks: near to right ones, but not what models get wrong."
    real = any(candidate.maker.startswith("model:") for group in groups for candidate in group.candidates)
    return Benchmark(Path(path).name, groups, "Groups of right and wrong answers." if real else note, real=real)


def read_any(path: Path | str) -> tuple[Group, ...]:
    """The groups of a folder of groups, a pair file, FC-RewardBench, or what was built in either benchmark's form."""
    path = Path(path)
    made = rebuilt(path) if path.is_dir() else None
    if made is None and (path / CARD).is_file():
        return tuple(read_groups(path))
    return trbench.read(path).groups if made and made.form == TRBENCH else fc_rewardbench.read(path).groups
