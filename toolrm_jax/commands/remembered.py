"""Scores kept on disk as soon as a judge has given them, so that an evaluation cut short does not begin anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.evals.baselines import Judge, Scores
from toolrm_jax.files import json_hash, write_file
from toolrm_jax.toolcalls.types import Group


def remembered(judge: Judge, folder: Path, identity: str) -> Judge:
    """The judge, asked only once for the same groups. `identity` stands for all else that its scores depend on."""

    def score(groups: Sequence[Group]) -> Scores:
        key = json_hash([judge.name, identity, [group.to_json() for group in groups]])
        file = folder / f"{key[:32]}.json"
        if file.is_file():
            return json.loads(file.read_bytes())
        scores = judge.score(groups)
        write_file(file, json.dumps(scores))
        return scores

    return Judge(judge.name, score)
