"""What the kernels skip: the blocks of which no query sees anything, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.rows import LENGTH, groups, ids_of, laid_out, seen_in_groups, seen_pairs, spans, with_spans
from toolrm_jax.errors import ModelError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_blocks import (
    FIRST,
    LAST,
    MOST_BLOCKS,
    MOST_ROWS,
    WHOLE,
    Blocks,
    block_map,
    unpack,
    work_by_key,
    work_by_query,
)

SIZES = st.sampled_from([16, 32, 64])


def maps(visible: Visible, blocks: Blocks, start: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The block map of queries [start, stop), as numpy."""
    length = visible.last.shape[1]
    return tuple(map(np.asarray, block_map(visible.last, (stop or length) - start, start, blocks)))


def blocked(seen: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Pairs [B, T, S] as [B, I, J, block, block]."""
    B, T, S = seen.shape
    return seen.reshape(B, T // blocks.query, blocks.query, S // blocks.key, blocks.key).swapaxes(2, 3)


@given(row=groups)
@settings(max_examples=40, deadline=None)
def test_a_context_is_seen_by_its_group_and_an_answer_by_itself(row):
    visible = laid_out(row)
    assert (seen_pairs(visible) == seen_in_groups(ids_of(row))).all()
    assert (np.asarray(visible.mask(0, LENGTH)) == seen_pairs(visible)).all()
    assert (np.asarray(visible.real) == (ids_of(row)[0] > 0)).all()


@given(row=st.one_of(groups.map(laid_out), spans.map(with_spans)), query=SIZES, key=SIZES)
@settings(max_examples=60, deadline=None)
def test_the_map_says_of_every_block_whether_anything_of_it_is_seen_and_whether_all(row, query, key):
    blocks = Blocks(query, key)
    some, whole = maps(row, blocks)
    pairs = blocked(seen_pairs(row), blocks)
    assert (some == pairs.any(axis=(3, 4))).all()
    assert (whole == pairs.all(axis=(3, 4))).all()


@given(row=groups, size=SIZES, part=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_part_of_the_queries_has_the_map_of_its_part(row, size, part):
    visible, blocks = laid_out(row), Blocks(size, size)
    quarter = LENGTH // 4
    for all_queries, some_queries in zip(
        maps(visible, blocks), maps(visible, blocks, part * quarter, (part + 1) * quarter)
    ):
        per_part = quarter // size
        assert (all_queries[:, part * per_part : (part + 1) * per_part] == some_queries).all()


def test_blocks_that_nobody_sees_are_skipped():
    # Blocks of 64 tokens: two groups of a context of two blocks and two answers of one block each, then padding.
    visible = laid_out([(128, [64, 64]), (128, [64, 64])], length=640)
    some, _ = maps(visible, Blocks(64, 64))
    expected = np.zeros((10, 10), int)
    one = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    expected[:4, :4] = expected[4:8, 4:8] = one
    expected[8, 8] = expected[9, 9] = 1
    assert (some[0] == expected).all()
    work = work_by_query(*maps(visible, Blocks(64, 64)))
    assert (int(work.count), 10 * 11 // 2) == (20, 55), "20 pairs of blocks of the 55 that causality leaves"


def test_an_answer_costs_the_blocks_of_its_context_and_its_own_and_only_the_diagonal_needs_a_mask():
    # A context of 16 blocks and sixteen answers of one: 408 pairs of blocks of the 528 that causality leaves.
    visible = laid_out([(4096, [256] * 16)], length=8192)
    some, whole = maps(visible, Blocks(256, 256))
    assert some.sum() == 16 * 17 // 2 + 16 * 17
    assert whole.sum() == 16 * 15 // 2 + 16 * 16


def steps_of(work) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in unpack(np.asarray(work.steps)[: int(work.count)]))))


@given(rows=st.tuples(groups, groups), query=SIZES, key=SIZES)
@settings(max_examples=15, deadline=None)
def test_the_list_of_steps_is_the_map_in_order_with_the_ends_of_each_block_marked(rows, query, key):
    some, whole = maps(laid_out(*rows), Blocks(query, key))
    for work, axis in ((work_by_query(some, whole), 1), (work_by_key(some, whole), 2)):
        steps = steps_of(work)
        assert [s[:3] for s in sorted(steps)] == [tuple(at) for at in np.argwhere(some).tolist()]
        assert steps == sorted(steps, key=lambda s: (s[0], s[axis], s[3 - axis]))
        for n, (*at, flags) in enumerate(steps):
            mine = (at[0], at[axis])
            before = (steps[n - 1][0], steps[n - 1][axis]) if n else None
            after = (steps[n + 1][0], steps[n + 1][axis]) if n + 1 < len(steps) else None
            assert flags == FIRST * (before != mine) | LAST * (after != mine) | WHOLE * whole[tuple(at)]


def test_keys_that_no_query_of_a_part_sees_get_a_step_that_leaves_zeros():
    visible = laid_out([(200, [56])])
    work = work_by_key(*maps(visible, Blocks(64, 64), 64, 128))
    assert [(step[2], step[3] & ~WHOLE) for step in steps_of(work)] == [(key, FIRST | LAST) for key in range(4)]


def test_rows_too_long_and_too_many_are_refused_in_one_line():
    long = np.zeros((1, 1, MOST_BLOCKS + 1), bool)
    with pytest.raises(ModelError, match="a row of 513 blocks is too long for the kernels"):
        work_by_query(long, long)
    many = np.zeros((MOST_ROWS + 1, 1, 1), bool)
    with pytest.raises(ModelError, match="1025 rows on one device are too many"):
        work_by_query(many, many)
