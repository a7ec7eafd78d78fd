"""From a batch of tasks to one shard of groups: a pure function, whichever process, machine or cluster runs it.

A shard's bytes depend on the job and the tasks alone. It is written under another name and renamed, its index last:
a process killed at any moment leaves a shard that is done or one that is made again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.files import write_file
from toolrm_jax.preferences.card import Tally
from toolrm_jax.preferences.contamination import KINDS, Benchmarks, Removed
from toolrm_jax.preferences.encode import encode_groups
from toolrm_jax.preferences.index import Index, make_index
from toolrm_jax.preferences.recipes import FAULTY, Balanced, Left, Outcome, balanced_group, outcome_group
from toolrm_jax.preferences.shards import put_shard
from toolrm_jax.toolcalls.types import Candidate, Group, Task

CONTAMINATED = "shares a {} with a benchmark"

Item = tuple[Task, Sequence[Candidate]]
"""A task and real answers to it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What is the same for every shard. `benchmarks`: a file of `contamination.Benchmarks`; `kinds`: what of them."""

    recipe: Outcome | Balanced
    seed: int
    benchmarks: str | None = None
    kinds: tuple[str, ...] = KINDS
    strict: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """The groups of a batch of tasks, their tasks as they were, and what became of the others."""

    groups: tuple[Group, ...]
    originals: tuple[Task, ...]
    drops: dict[str, int]
    changes: dict[str, int]
    removed: tuple[Removed, ...]


def make_batch(items: Sequence[Item], job: Job, epoch: int = 0) -> Batch:
    """The groups of a batch for one epoch, in the order of its tasks. With `strict`, a fault in one is a DataError."""
    drops: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    groups, originals, removed = [], [], []
    benchmarks = _benchmarks(job.benchmarks) if job.benchmarks else None
    make = outcome_group if isinstance(job.recipe, Outcome) else balanced_group
    for task, answers in items:
        if benchmarks and (found := benchmarks.found_in(task, job.kinds)):
            removed.append(found)
            drops[CONTAMINATED.format(found.shares)] += 1
            continue
        try:
            made = make(task, answers, job.recipe, job.seed, changes, epoch)
        except DataError:
            if job.strict:
                raise
            drops[FAULTY] += 1
            continue
        if isinstance(made, Left):
            drops[made.reason] += 1
        else:
            groups.append(made)
            originals.append(task)
    return Batch(tuple(groups), tuple(originals), dict(drops), dict(+changes), tuple(removed))


def make_shard(folder: Path, name: str, items: Sequence[Item], job: Job, epoch: int = 0) -> None:
    """Write the shard of that name and then its index. A batch that gives no group leaves an index alone."""
    batch = make_batch(items, job, epoch)
    tally = Tally()
    for group in batch.groups:
        tally.add(group)
    records = encode_groups(batch.groups)
    shard = put_shard(folder, f"groups-{name}.array_record", records).to_json() if records else None
    facts: dict[str, Any] = {
        "shard": shard,
        "tasks": len(items),
        "drops": batch.drops,
        "changes": batch.changes,
        "counts": tally.tables(),
        "removed": [one.to_json() for one in batch.removed],
    }
    index: Index = make_index(batch.groups, batch.originals, job.seed, facts)
    write_file(index_path(folder, name), index.to_bytes())


def shard_name(name: str, epoch: int) -> str:
    """What a shard of that name is called among those of an epoch."""
    return f"e{epoch}-{name}" if epoch else name


def index_path(folder: Path, name: str) -> Path:
    """Where the index of the shard of that name is, once the shard is done."""
    return folder / f"index-{name}.npz"


def index_paths(folder: Path, epoch: int) -> list[Path]:
    """The indexes of all of an epoch's shards that are done, in order."""
    return sorted(folder.glob(f"index-{shard_name('[0-9]*', epoch)}.npz"))


@functools.lru_cache(maxsize=2)
def _benchmarks(path: str) -> Benchmarks:
    return Benchmarks.load(Path(path))
