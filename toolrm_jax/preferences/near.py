"""Near-duplicates: tasks with the same answer whose users say nearly the same.

The answer must be equal (calls as a set, or the words where there is no call); the user's words of the whole
conversation are compared by MinHash over runs of three words (library `rensa`). So two turns of one dialogue, which
share most of their context, are no duplicates of each other, and one question asked for two cities is not either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt32, UInt64

from toolrm_jax.errors import ConfigError
from toolrm_jax.toolcalls.equality import multiset
from toolrm_jax.toolcalls.types import Message, Task

PERMUTATIONS = 64
BANDS = 8  # of PERMUTATIONS / BANDS rows: finds 99 % of pairs at similarity 0.9, 5 % at 0.5
RUN = 3  # words

Signatures = UInt32[np.ndarray, "tasks permutations"]


def question(task: Task) -> str:
    """All the user's words, case-folded, with runs of white space as one."""
    return " ".join(" ".join(_spoken(task.context.messages)).casefold().split())


def answer_hash(task: Task) -> int:
    """64 bits of the reference: its calls whatever their order, or its words; 0 without a reference."""
    reference = task.reference
    if reference is None:
        return 0
    said = (reference.text or "").casefold().split() if not reference.calls else None
    return hash64(repr(said) if said is not None else repr(_sorted(multiset(reference.calls))))


def hash64(text: str) -> int:
    """The first 64 bits of a text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def signatures(questions: Sequence[str]) -> Signatures:
    """MinHash signatures; those of texts without a word are all ones."""
    from rensa import RMinHash

    rows = np.full((len(questions), PERMUTATIONS), np.iinfo(np.uint32).max, np.uint32)
    for row, text in zip(rows, questions):
        words = text.split()
        if words:
            sketch = RMinHash(num_perm=PERMUTATIONS, seed=1)
            sketch.update([" ".join(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))])
            row[:] = sketch.digest()
    return rows


def duplicates(
    answers: UInt64[np.ndarray, " tasks"], sketches: Signatures, similarity: float = 0.85
) -> Bool[np.ndarray, " tasks"]:
    """True for each task that is a near-duplicate of an earlier one; the first of a chain of them stays.

    `sketches` may be a file mapped into memory: 16 bytes a task are held besides. Tasks without words or without a
    reference are nobody's duplicates.
    """
    if not 0 < similarity <= 1:
        raise ConfigError(f"similarity={similarity}: give a share above 0, up to 1")
    count = len(answers)
    first = np.arange(count)
    usable = np.asarray(answers != 0) & np.fromiter((bool((row != row[0]).any()) for row in sketches), bool, count)
    width = PERMUTATIONS // BANDS
    for band in range(BANDS):
        keys = _band_keys(answers, sketches[:, band * width : (band + 1) * width])
        keys[~usable] = 0
        order = np.lexsort((np.arange(count), keys))
        same = np.flatnonzero((keys[order][1:] == keys[order][:-1]) & usable[order][1:])
        for at in same:
            _tie(first, int(order[at]), int(order[at + 1]), answers, sketches, similarity)
    roots = np.fromiter((_root(first, index) for index in range(count)), np.int64, count)
    return roots != np.arange(count)


def repeated(keys: Int[np.ndarray, " tasks"] | UInt64[np.ndarray, " tasks"]) -> Bool[np.ndarray, " tasks"]:
    """True for each key that stands earlier too."""
    _, first = np.unique(keys, return_index=True)
    found = np.ones(len(keys), bool)
    found[first] = False
    return found


def _band_keys(answers: np.ndarray, band: np.ndarray) -> np.ndarray:
    """64 bits that two tasks share if they share their answer and this band of their signatures."""
    keys = answers.astype(np.uint64).copy()
    with np.errstate(over="ignore"):
        for column in range(band.shape[1]):
            keys = (keys ^ band[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys | np.uint64(1)


def _tie(first: np.ndarray, one: int, other: int, answers: np.ndarray, sketches: np.ndarray, least: float) -> None:
    a, b = _root(first, one), _root(first, other)
    if a != b and answers[one] == answers[other] and (sketches[one] == sketches[other]).mean() >= least:
        first[max(a, b)] = min(a, b)


def _root(first: np.ndarray, index: int) -> int:
    while first[index] != index:
        first[index] = first[first[index]]
        index = int(first[index])
    return index


def _spoken(messages: Iterable[Message]) -> Iterable[str]:
    return (message.content for message in messages if message.role == "user")


def _sorted(value: object) -> object:
    """A canonical value with its sets in an order and 3.0 as 3, so that equal ones have one text in every process."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, frozenset):
        return sorted((_sorted(item) for item in value), key=repr)
    return tuple(map(_sorted, value)) if isinstance(value, tuple) else value
