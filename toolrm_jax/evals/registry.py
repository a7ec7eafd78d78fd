"""Every benchmark by its name: where it usually comes from, and how it is read."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.benchmark import Benchmark


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark's reader, as `module:function` of this package, and what it is.

    `hub`: the data set's id on the Hugging Face hub, where no path is given; None: a path is needed.
    `draws`: the reader draws its sample of groups itself, since what it makes of each belongs together.
    """

    reader: str
    about: str
    hub: str | None = None
    draws: bool = False

    def read(self, path: Path, count: int | None = None, seed: int = 0) -> tuple[Benchmark, ...]:
        """The benchmark, or its parts that are reported apart; of each a seeded sample of `count` groups.

        Raises DataError where the files cannot be read or hold nothing to judge.
        """
        module, _, name = self.reader.partition(":")
        read: Callable[..., Any] = getattr(importlib.import_module(f"toolrm_jax.evals.{module}"), name)
        found = read(path, seed, count) if self.draws else read(path)
        parts = found if isinstance(found, tuple) else (found,)
        if not all(part.groups for part in parts):
            raise DataError(f"{path}: holds nothing to judge; expected {self.about}")
        return parts if self.draws else tuple(part.sample(count, seed) for part in parts)


BENCHMARKS = {
    "fc-rewardbench": Entry(
        "fc_rewardbench:read_parts",
        "right calls of BFCL over wrong ones of 25 open models (Arrow), or our pairs (.jsonl); live questions apart",
        "ibm-research/fc-reward-bench",
    ),
    "trbench": Entry(
        "trbench:read", "TRBench-BFCL: nine splits, Avg and W-Avg, published rows beside", "RioLee/TRBench-BFCL"
    ),
    "rewardbench": Entry(
        "rewardbench:read",
        "RewardBench: chat, chat hard, safety, reasoning; shows loss of general skill",
        "allenai/reward-bench",
    ),
    "rewardbench2": Entry(
        "rewardbench:read_second", "RewardBench 2: the best of four answers, and ties", "allenai/reward-bench-2"
    ),
    "best-of-n": Entry(
        "samples:read", "n recorded or sampled answers a question, of which the judge keeps one; a curve over n"
    ),
    "rotbench": Entry("rotbench:read", "RoTBench: five levels of noise in tool and parameter names, two turns"),
    "perturbed": Entry(
        "perturb:read",
        "our own noise on any groups: tools renamed, reordered, padded, descriptions cut",
        draws=True,
    ),
    "taskmaster": Entry("human_labels:read", "AUC of scores against people's thumbs on Taskmaster's API calls"),
    "groups": Entry("samples:read_groups_folder", "a folder of groups that `toolrm prepare` wrote"),
}


def entry(name: str) -> Entry:
    """The benchmark of that name. Raises ConfigError, with the nearest name, for an unknown one."""
    if name not in BENCHMARKS:
        nearest = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"benchmark={name}: unknown; known: {', '.join(BENCHMARKS)}{hint}")
    return BENCHMARKS[name]
