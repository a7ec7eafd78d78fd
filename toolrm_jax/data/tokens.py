"""A group as tokens: what tokenising once leaves behind, and all that training needs to know of it."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
from jaxtyping import Bool

from toolrm_jax.errors import DataError

_HEADER = struct.Struct("<I")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TokenGroup:
    """A context and its answers as int32 token ids. Each answer ends with the end-of-turn token.

    `right[k]` says whether answer k is right; `kinds[k]` names its error type (empty where right or unknown);
    `scores[k]` is its rule score (all may be left out: then nothing is known of them).
    `pairs` are (better, worse) answers that a recipe chose; without any, every right one stands over every wrong one.
    `epoch`: of those that were prepared, the one whose rows it is for.
    """

    id: str
    source: str
    context: np.ndarray
    responses: tuple[np.ndarray, ...]
    right: tuple[bool, ...]
    kinds: tuple[str, ...]
    scores: tuple[float, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    epoch: int = 0

    def __post_init__(self) -> None:
        if not len(self.context):
            raise DataError(f"group {self.id}: the context has no tokens")
        if not all(map(len, self.responses)):
            raise DataError(f"group {self.id}: an answer has no tokens; an empty answer is the end-of-turn token alone")
        if not len(self.responses) == len(self.right) == len(self.kinds):
            raise DataError(f"group {self.id}: {len(self.responses)} answers, {len(self.right)} verdicts")
        if self.scores and len(self.scores) != len(self.responses):
            raise DataError(f"group {self.id}: {len(self.responses)} answers, {len(self.scores)} rule scores")
        for better, worse in self.pairs:
            if better == worse or not all(0 <= place < len(self.responses) for place in (better, worse)):
                raise DataError(f"group {self.id}: pairs answers {better} and {worse} of its {len(self.responses)}")

    @property
    def size(self) -> int:
        """Tokens in a row: the context once and every answer."""
        return len(self.context) + sum(map(len, self.responses))

    @property
    def count(self) -> int:
        """How many answers it has."""
        return len(self.responses)

    @property
    def highest(self) -> int:
        """The highest token id."""
        return max(int(ids.max()) for ids in (self.context, *self.responses))

    @property
    def right_tokens(self) -> int:
        """Tokens of the right answers."""
        return sum(len(response) for response, right in zip(self.responses, self.right) if right)

    def better_than(self) -> Bool[np.ndarray, "K K"]:
        """Which answer (by row) is to score above which (by column)."""
        right = np.array(self.right, bool)
        if not self.pairs:
            return right[:, None] & ~right[None, :]
        chosen = np.zeros((len(right), len(right)), bool)
        chosen[tuple(zip(*self.pairs))] = True
        return chosen

    def right_until(self) -> tuple[int, ...]:
        """Per answer, how many of its leading tokens could still become a right one.

        That is the longest common prefix with any right answer of the group; all tokens where it is right itself.
        Without a right answer nobody can tell, and it says 0.
        """
        rights = [response for response, right in zip(self.responses, self.right) if right]
        return tuple(
            len(response) if right else max((_common_prefix(response, other) for other in rights), default=0)
            for response, right in zip(self.responses, self.right)
        )

    def to_bytes(self) -> bytes:
        """A JSON header with its length in front, then all ids as little-endian int32."""
        header = {
            "id": self.id,
            "source": self.source,
            "lengths": [len(self.context), *map(len, self.responses)],
            "right": self.right,
            "kinds": self.kinds,
            "scores": self.scores,
            "pairs": self.pairs,
            "epoch": self.epoch,
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        ids = np.concatenate([self.context, *self.responses]).astype("<i4")
        return _HEADER.pack(len(text)) + text + ids.tobytes()

    @classmethod
    def from_bytes(cls, record: bytes) -> TokenGroup:
        """The inverse of `to_bytes`."""
        (length,) = _HEADER.unpack_from(record)
        header = json.loads(record[_HEADER.size : _HEADER.size + length])
        ids = np.frombuffer(record, "<i4", offset=_HEADER.size + length)
        context, *responses = np.split(ids, np.cumsum(header["lengths"])[:-1])
        right, kinds, scores = (tuple(header[name]) for name in ("right", "kinds", "scores"))
        pairs = tuple((better, worse) for better, worse in header["pairs"])
        return cls(
            header["id"], header["source"], context, tuple(responses), right, kinds, scores, pairs, header["epoch"]
        )


def _common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    shorter = min(len(a), len(b))
    differ = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(differ[0]) if len(differ) else shorter
