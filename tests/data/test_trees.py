"""Trees: every answer is read back along its path, and what answers begin with alike is there once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.data.trees import Tree, lay_out_trees

# Few ids and a common stem, so that answers often begin alike, hold one another or are the same.
stems = st.lists(st.integers(1, 3), max_size=4)
contexts = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(np.array)


@st.composite
def answers(draw) -> list[np.ndarray]:
    stem, rest = draw(stems), st.lists(st.integers(1, 3), min_size=1, max_size=6)
    return [np.array(stem * draw(st.booleans()) + draw(rest)) for _ in range(draw(st.integers(1, 6)))]


def sequence_to(before: np.ndarray, node: int, first: int) -> list[int]:
    """Indices from the first token to this one, by the token before each."""
    out = [node]
    while out[-1] != first:
        out.append(int(before[out[-1]]))
    return out[::-1]


@given(contexts, answers())
def test_every_answer_is_read_back_along_its_path(context, made):
    tree = Tree.of(context, made)
    assert tree.tokens[: tree.context].tolist() == context.tolist()
    for answer, path in zip(made, tree.paths, strict=True):
        assert tree.tokens[path].tolist() == answer.tolist()
        whole = sequence_to(tree.before, int(path[-1]), 0)
        assert whole == [*range(len(context)), *path.tolist()]
        assert tree.positions[whole].tolist() == list(range(len(whole)))


@given(contexts, answers())
def test_each_beginning_of_an_answer_is_there_once(context, made):
    beginnings = {tuple(answer[:n].tolist()) for answer in made for n in range(1, len(answer) + 1)}
    assert Tree.of(context, made).size == len(context) + len(beginnings)


@given(st.lists(st.tuples(contexts, answers()), max_size=3), st.integers(0, 5))
def test_in_a_row_a_token_is_seen_by_what_goes_on_from_it_and_padding_by_itself(groups, padding):
    trees = [Tree.of(*group) for group in groups]
    length = sum(tree.size for tree in trees) + padding
    row = lay_out_trees(trees, length, sum(len(tree.paths) for tree in trees) + 2)
    index = np.arange(length)
    seen = (index[None] <= index[:, None]) & (index[:, None] <= row.last)
    expected, at, ends = np.eye(length, dtype=bool), 0, []
    for tree in trees:
        for node in range(tree.size):
            expected[at + node, [at + each for each in sequence_to(tree.before, node, 0)]] = True
        ends += [at + path[-1] for path in tree.paths]
        assert row.in_answer[at : at + tree.size].tolist() == [False] * tree.context + [True] * (
            tree.size - tree.context
        )
        at += tree.size
    assert (seen == expected).all()
    assert row.real.tolist() == [True] * at + [False] * padding
    assert row.ends.tolist() == [*ends, 0, 0]
