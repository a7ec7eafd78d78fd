"""Trees of tokens: what the answers of a group begin with alike stands once in a row, and is computed once.

Answers to one question differ late: most name the same tool and the same first values. A token's hidden state depends
on what came before it alone, so that one state serves every answer that begins so, and the scores are those of each
answer by itself. Rows for training (rows.py) hold every answer in full, since the losses count tokens.

Shape letters: T tokens of a row, S answers of a row; a batch stacks B rows in front.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import struct


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A context and its answers as one tree, depth first, N tokens.

    context: how many tokens of it there are; they come first. tokens, positions: int32 [N]. before: int32 [N], the
    index of the token before it in its sequences (the first's own is its own). last: int32 [N], the index of the last
    token that has it in its sequence. paths: of each answer the indices of its tokens.
    """

    context: int
    tokens: np.ndarray
    positions: np.ndarray
    before: np.ndarray
    last: np.ndarray
    paths: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """Tokens that it takes in a row."""
        return len(self.tokens)

    @classmethod
    def of(cls, context: np.ndarray, answers: Sequence[np.ndarray]) -> Tree:
        """Of token ids, int. Answers may be alike; each has a token at least, and so has the context."""
        root = len(context) - 1
        tokens = context.tolist()
        before, last = [max(at - 1, 0) for at in range(root + 1)], [root] * (root + 1)
        positions, paths = list(range(root + 1)), [np.zeros(0, np.int32)] * len(answers)
        listed = [answer.tolist() for answer in answers]
        path: list[int] = []
        earlier: list[int] = []

        def leave(depth: int) -> None:
            for node in path[depth:]:
                last[node] = len(tokens) - 1
            del path[depth:]

        # In the order of their tokens: those that begin alike follow one another.
        for number in sorted(range(len(listed)), key=listed.__getitem__):
            answer = listed[number]
            same = _in_common(earlier, answer)
            leave(same)
            for token in answer[same:]:
                before.append(path[-1] if path else root)
                positions.append(root + 1 + len(path))
                path.append(len(tokens))
                tokens.append(token)
                last.append(0)
            paths[number], earlier = np.array(path, np.int32), answer
        leave(0)
        last[: root + 1] = [len(tokens) - 1] * (root + 1)
        of_nodes = (np.array(values, np.int32) for values in (tokens, positions, before, last))
        return cls(root + 1, *of_nodes, tuple(paths))


def _in_common(a: list[int], b: list[int]) -> int:
    """How many items two lists begin with alike."""
    for at, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return at
    return min(len(a), len(b))


@struct.dataclass
class TreeRows:
    """One row of trees, or a batch of them along a leading axis. Numpy on the host, JAX arrays on the device.

    tokens, positions, before, last: int32 [T] as in `Tree`, indices within the row; real: bool [T], False for padding.
    in_answer: bool [T]. ends: int32 [S], the index of each answer's last token, 0 where the row has no more answers.
    """

    tokens: Any
    positions: Any
    before: Any
    last: Any
    real: Any
    in_answer: Any
    ends: Any


def lay_out_trees(trees: Sequence[Tree], length: int, slots: int) -> TreeRows:
    """Put trees into a row of `length` tokens and `slots` answers; both must suffice (packing sees to it)."""
    tokens, positions, before = (np.zeros(length, np.int32) for _ in range(3))
    last, real = np.arange(length, dtype=np.int32), np.zeros(length, bool)
    in_answer, ends = np.zeros(length, bool), np.zeros(slots, np.int32)
    at = slot = 0
    for tree in trees:
        span = slice(at, at + tree.size)
        tokens[span], positions[span], real[span] = tree.tokens, tree.positions, True
        before[span], last[span] = tree.before + at, tree.last + at
        for path in tree.paths:
            in_answer[at + path] = True
            ends[slot] = at + path[-1]
            slot += 1
        at += tree.size
    return TreeRows(tokens, positions, before, last, real, in_answer, ends)
