"""What selecting needs to know of a shard's groups, beside the shard, so that no group is read twice.

One `index-NAME.npz` stands for one `groups-NAME.array_record` and is written after it: a shard is done when its index
is there. Its arrays take some 350 bytes a group.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.preferences.balance import Scored
from toolrm_jax.preferences.near import Signatures, answer_hash, hash64, question, signatures
from toolrm_jax.preferences.pairs import complexity
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Group, Task

SINGLE, MULTI, NO_CALL = range(3)
"""Classes of tasks that paper A mixes: one user message, several, or none where a call is right (method.md 2.2)."""
CLASSES = ("single-turn", "multi-turn", "no call")
_COLUMNS = {
    "keys": np.uint64,
    "conversations": np.uint64,
    "answers": np.uint64,
    "complexities": np.uint16,
    "classes": np.uint8,
    "sources": np.uint16,
    "sizes": np.uint16,
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Arrays over the groups of one shard, and `facts`: JSON that the shard's maker wants remembered.

    keys: hash of seed and task id; conversations: equal for the decision points of one dialogue; answers: of the
    reference; sizes: candidates of each group; scores: of all candidates, one after the other; sketches: MinHash
    signatures of the questions; names: what the numbers in `sources` stand for.
    """

    keys: np.ndarray
    conversations: np.ndarray
    answers: np.ndarray
    complexities: np.ndarray
    classes: np.ndarray
    sources: np.ndarray
    sizes: np.ndarray
    scores: np.ndarray
    sketches: Signatures
    names: tuple[str, ...]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.keys)

    def scored(self, first_place: int = 0) -> Iterator[Scored]:
        """The groups as balancing takes them; places are counted from `first_place`."""
        ends = np.cumsum(self.sizes.astype(np.int64))
        keys, complexities, sources = self.keys.tolist(), self.complexities.tolist(), self.sources.tolist()
        scores, start = self.scores.tolist(), 0
        for row, end in enumerate(ends.tolist()):
            name = self.names[sources[row]]
            yield Scored(name, keys[row], complexities[row], tuple(scores[start:end]), first_place + row)
            start = end

    def to_bytes(self) -> bytes:
        """An .npz file: the same index gives the same bytes."""
        text = json.dumps({"names": self.names, "facts": self.facts}).encode()
        file = io.BytesIO()
        columns = {name: getattr(self, name) for name in (*_COLUMNS, "scores", "sketches")}
        np.savez(file, facts=np.frombuffer(text, np.uint8), **columns)
        return file.getvalue()


def read_index(path: Path, *columns: str) -> Index:
    """The index at `path`; of its arrays only `columns` if any are named (the others are empty). Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(file["facts"].tobytes())
            wanted = columns or (*_COLUMNS, "scores", "sketches")
            kinds = {**_COLUMNS, "scores": np.float64, "sketches": np.uint32}
            arrays = {name: file[name] if name in wanted else np.empty(0, kind) for name, kind in kinds.items()}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not an index of groups ({error}); remove its folder and run again") from None
    return Index(**arrays, names=tuple(told["names"]), facts=told["facts"])


def make_index(groups: Sequence[Group], originals: Sequence[Task], seed: int, facts: dict[str, Any]) -> Index:
    """The index of groups; `originals` are their tasks before names were obfuscated."""
    names = tuple(dict.fromkeys(task.source for task in originals))
    columns = {
        "keys": [record_key(seed, task.id) for task in originals],
        "conversations": [conversation(task) for task in originals],
        "answers": [answer_hash(task) for task in originals],
        "complexities": [min(complexity(task.reference), 65535) for task in originals],
        "classes": [task_class(task) for task in originals],
        "sources": [names.index(task.source) for task in originals],
        "sizes": [len(group.candidates) for group in groups],
    }
    return Index(
        **{name: np.array(values, _COLUMNS[name]) for name, values in columns.items()},
        scores=np.array([verdict.score for group in groups for verdict in group.verdicts], np.float64),
        sketches=signatures([question(task) for task in originals]),
        names=names,
        facts=facts,
    )


def record_key(seed: int, record: str) -> int:
    """64 bits by which a record is ordered or drawn, whatever stands beside it."""
    return seeded(seed, "selection", record).getrandbits(64)


def conversation(task: Task) -> int:
    """64 bits equal for the decision points of one dialogue: same source, tools and first words of the user."""
    first = next((message.content for message in task.context.messages if message.role == "user"), "")
    names = ",".join(tool.name for tool in task.context.tools)
    return hash64(f"{task.source}\0{names}\0{' '.join(first.casefold().split())}")


def task_class(task: Task) -> int:
    """SINGLE, MULTI or NO_CALL."""
    if not task.reference.calls:
        return NO_CALL
    return MULTI if sum(message.role == "user" for message in task.context.messages) > 1 else SINGLE
