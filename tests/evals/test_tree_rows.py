"""Every answer of every group stands in one row, rows are filled, and few shapes are compiled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.evals import tree_rows
from toolrm_jax.evals.tree_rows import ROW_TOKENS, SHORTEST_ROW, SLOTS, tree_batches

LONGEST = 40_960


def group(number, context, *answers):
    """Of a context of so many tokens, and answers of so many each, no two of which begin alike."""
    responses = tuple(np.full(size, 1 + k, np.int32) for k, size in enumerate(answers))
    right = tuple(k == 0 for k in range(len(answers)))
    return TokenGroup(str(number), "", np.zeros(context, np.int32), responses, right, ("",) * len(answers))


def read_back(groups, devices):
    """Of each answer its tokens and the index of its end, as they are found where `tree_batches` says they stand."""
    found = {}
    for places, rows in tree_batches(groups, LONGEST, devices):
        assert len(places) == devices == len(rows.tokens)
        for row, placed in enumerate(places):
            taken = np.flatnonzero(rows.in_answer[row])
            for place in placed:
                for k, path in enumerate(place.tree.paths):
                    at = taken[place.answer_tokens + path - place.tree.context]
                    assert at[-1] == rows.ends[row, place.slot + k]
                    assert (place.group, place.start + k) not in found
                    found[place.group, place.start + k] = rows.tokens[row, at]
        yield rows
    wanted = {(g, k): answer for g, one in enumerate(groups) for k, answer in enumerate(one.responses)}
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)


sizes = st.lists(st.tuples(st.integers(1, 900), st.lists(st.integers(1, 60), min_size=1, max_size=6)), max_size=24)


@settings(deadline=None, max_examples=40)
@given(sizes, st.integers(1, 4))
def test_every_answer_is_found_again_where_it_was_put(drawn, devices):
    groups = [group(n, context, *answers) for n, (context, answers) in enumerate(drawn)]
    for rows in read_back(groups, devices):
        length = rows.tokens.shape[1]
        assert length & (length - 1) == 0
        assert SHORTEST_ROW <= length <= ROW_TOKENS


def test_more_groups_than_wait_at_a_time_are_all_read_with_little_padding(monkeypatch):
    monkeypatch.setattr(tree_rows, "POOL", 40)
    random = np.random.default_rng(0)
    groups = [group(n, int(random.integers(100, 4000)), 40, 50, 60) for n in range(200)]
    batches = list(read_back(groups, 2))
    assert {rows.tokens.shape for rows in batches[:-1]} == {(2, ROW_TOKENS)}
    assert np.mean(np.concatenate([rows.real.reshape(-1) for rows in batches])) > 0.95


def test_a_few_short_groups_make_a_short_row():
    (rows,) = read_back([group(0, 100, 5), group(1, 90, 7)], 1)
    assert rows.tokens.shape == (1, SHORTEST_ROW)


def test_a_group_longer_than_the_usual_row_has_one_that_holds_it_and_others_fill_it_up():
    (rows,) = read_back([group(0, 300, 5), group(1, 9000, 7, 8), group(2, 600, 9)], 1)
    assert rows.tokens.shape == (1, 2 * ROW_TOKENS)


def test_more_answers_than_a_row_has_room_for_are_several_trees():
    many = group(0, 20, *[2] * (2 * SLOTS + 3))
    batches = list(tree_batches([many], LONGEST, 1))
    starts = sorted(place.start for rows, _ in batches for row in rows for place in row)
    assert starts == [0, SLOTS, 2 * SLOTS]
    assert all(len(place.tree.paths) <= SLOTS for rows, _ in batches for row in rows for place in row)


def test_what_the_model_cannot_read_is_refused_by_its_id():
    with pytest.raises(DataError, match="group 7: context and answer have 41 tokens, the model reads at most 40"):
        list(tree_batches([group(7, 36, 5)], 40, 1))
