"""Scores kept on disk as soon as a judge has given them, so that an evaluation cut short does not begin anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from toolrm_jax.evals.baselines import Judge
from toolrm_jax.evals.scores import Scores
from toolrm_jax.files import json_hash, write_file
from toolrm_jax.toolcalls.types import Group

PIECE = 256
"""Groups that are scored and kept at a time: what a kill can lose."""


def remembered(judge: Judge, folder: Path, identity: str, piece: int = PIECE) -> Judge:
    """The judge, asked only once for the same groups. `identity` stands for all else that its scores depend on."""

    def score(groups: Sequence[Group]) -> Scores:
        found: Scores = []
        for some in _pieces(groups, piece):
            key = json_hash([judge.name, identity, [group.to_json() for group in some]])
            file = folder / f"{key[:32]}.json"
            if file.is_file():
                found += json.loads(file.read_bytes())
                continue
            scores = judge.score(some)
            write_file(file, json.dumps(scores))
            found += scores
        return found

    return Judge(judge.name, score, judge.about)


def _pieces(groups: Sequence[Group], size: int) -> Iterator[Sequence[Group]]:
    """Runs of `size` groups; what is left over goes with the last, as a short run packs badly and compiles anew."""
    starts = list(range(0, max(len(groups) - size + 1, 1), size))
    for start, stop in zip(starts, [*starts[1:], len(groups)]):
        yield groups[start:stop]
