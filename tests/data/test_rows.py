"""Rows, packing and the data set: what goes in comes out, once, and in an order that depends on the seed alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.data.dataset import NOT_TRAINED, TOO_LARGE, WINDOW, RowSource, batches
from toolrm_jax.data.packing import pack, plan
from toolrm_jax.data.rows import lay_out, row_fields
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded

ids = st.lists(st.integers(1, 1000), min_size=1, max_size=12).map(np.array)


@st.composite
def groups(draw) -> TokenGroup:
    answers = tuple(draw(st.lists(ids, min_size=1, max_size=5)))
    right = tuple(draw(st.booleans()) for _ in answers)
    kinds = tuple("" if r else "incorrect parameter value" for r in right)
    places = st.integers(0, len(answers) - 1)
    pairs = draw(st.sets(st.tuples(places, places).filter(lambda pair: pair[0] != pair[1]), max_size=4))
    return TokenGroup(draw(st.text(max_size=5)), "made", draw(ids), answers, right, kinds, pairs=tuple(sorted(pairs)))


def same(a: TokenGroup, b: TokenGroup) -> bool:
    arrays = zip((a.context, *a.responses), (b.context, *b.responses), strict=True)
    plain = (a.id, a.source, a.right, a.kinds, a.pairs) == (b.id, b.source, b.right, b.kinds, b.pairs)
    return plain and all(np.array_equal(x, y) for x, y in arrays)


@given(groups())
def test_a_group_survives_the_trip_through_bytes(group):
    assert same(TokenGroup.from_bytes(group.to_bytes()), group)


@given(st.lists(groups(), min_size=1, max_size=4))
def test_a_row_can_be_read_back_as_the_groups_that_made_it(made):
    row = lay_out(made, sum(g.size for g in made) + 7, sum(len(g.responses) for g in made) + 2)
    slot, paired = 0, set()
    for number, group in enumerate(made, start=1):
        count = len(group.right)
        chosen = group.pairs or [(i, j) for i in range(count) for j in range(count) if group.right[i] > group.right[j]]
        paired |= {(slot + better, slot + worse) for better, worse in chosen}
        mine = row.group == number
        context = mine & (row.response == 0)
        assert np.array_equal(row.tokens[context], group.context)
        assert np.array_equal(row.positions[context], np.arange(len(group.context)))
        for index, (answer, right) in enumerate(zip(group.responses, group.right), start=1):
            at = np.flatnonzero(mine & (row.response == index))
            assert np.array_equal(row.tokens[at], answer)
            assert np.array_equal(row.positions[at], len(group.context) + np.arange(len(answer)))
            assert row.previous[at[0]] == np.flatnonzero(context)[-1]
            assert np.array_equal(row.previous[at[1:]], at[:-1])
            if not any(group.right):
                assert set(row.still_right[at]) == {-1}, "where nobody knows a right answer, none can be left"
            assert (row.score_at[slot], row.slot_group[slot], row.slot_right[slot]) == (at[-1], number, right)
            slot += 1
    assert not row.slot_group[slot:].any()
    assert {tuple(pair) for pair in np.argwhere(row.pairs).tolist()} == paired
    assert (row.group == 0).sum() == 7


def test_an_answer_is_still_right_until_it_leaves_every_right_one():
    right, other = np.array([5, 6, 7, 2]), np.array([5, 9, 2])
    wrongs = (np.array([5, 6, 8, 2]), np.array([9, 2]), np.array([5, 9, 2, 2]), np.array([5, 6, 7]))
    group = TokenGroup("g", "made", np.array([1]), (right, other, *wrongs), (True, True) + (False,) * 4, ("",) * 6)
    assert group.right_until() == (4, 3, 2, 0, 3, 3)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 6)), min_size=1, max_size=60), st.integers(0, 2**63 - 1))
def test_every_item_is_packed_once_and_no_row_is_too_full(items, seed):
    sizes, answers = (np.array(column) for column in zip(*items))
    rows = plan(sizes, answers, 64, 8, 16, seed)
    assert sorted(i for row in rows for i in row) == list(range(len(items)))
    assert all(sizes[list(row)].sum() <= 64 and answers[list(row)].sum() <= 8 for row in rows)
    assert rows == plan(sizes, answers, 64, 8, 16, seed)


def test_packing_puts_larger_items_first_and_each_where_there_is_room():
    assert pack([3, 7, 5, 5], [1, 1, 1, 1], 10, 9) == [[1, 0], [2, 3]]


@pytest.mark.parametrize("pair", [(0, 0), (0, 2), (-1, 0)])
def test_a_pair_of_answers_that_are_not_there_is_refused(pair):
    with pytest.raises(DataError, match="group g: pairs answers"):
        TokenGroup("g", "made", np.array([1]), (np.array([2]),) * 2, (True, False), ("", ""), pairs=(pair,))


def made_groups(count: int) -> list[TokenGroup]:
    random = np.random.default_rng(0)
    return [
        TokenGroup(
            str(i), "made", random.integers(1, 9, random.integers(3, 40)), (np.array([3, 2]), np.array([4, 2])),
            (True, False), ("", ""),
        )
        for i in range(count)
    ]  # fmt: skip


def test_the_row_with_most_tokens_of_right_answers_is_known_from_sizes_alone():
    source = RowSource(made_groups(50), 64, 8, 3, 2, seed=1)
    counted = [sum(source.groups[i].right_tokens for i in row) for row in source.plan]
    assert source.most_right_tokens == max(counted) > min(counted)


def test_every_epoch_holds_every_group_once_in_another_order():
    source = RowSource(made_groups(50), 64, 8, 3, 2, seed=1)
    order = source.ids(range(len(source)))
    assert sorted(order[:50]) == sorted(order[50:])
    assert order[:50] != order[50:]
    assert len(source) % 3 == 0


def for_epochs(*counts: int) -> list[TokenGroup]:
    """So many groups for each of the prepared epochs, named EPOCH/NUMBER."""
    return [
        dataclasses.replace(group, id=f"{epoch}/{group.id}", epoch=epoch)
        for epoch, count in enumerate(counts)
        for group in made_groups(count)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 7])
def test_an_epoch_reads_what_was_prepared_for_it_and_beyond_those_they_come_again(epochs):
    counts = (20, 22, 18)
    source = RowSource(for_epochs(*counts), 64, 8, 1, epochs, seed=1)
    ids, at = source.ids(range(len(source))), 0
    for epoch in range(epochs):
        own = ids[at : at + counts[epoch % 3]]
        assert sorted(own) == sorted(f"{epoch % 3}/{number}" for number in range(counts[epoch % 3]))
        at += len(own)
    assert at == len(ids)
    unread = sum(counts[epochs:])
    assert source.dropped == ({NOT_TRAINED: unread} if unread else {})


def test_an_epochs_rows_are_the_same_however_many_were_prepared_and_those_of_one_are_as_they_were():
    one, two, three = (RowSource(for_epochs(20, 22, 18)[:count], 64, 8, 1, 2, 1) for count in (20, 42, 60))
    first = [one.ids([row]) for row in range(len(one.plan))]
    assert [two.ids([row]) for row in range(len(two.plan))][: len(first) // 2] == first[: len(first) // 2]
    assert [two.ids([row]) for row in range(len(two.plan))] == [three.ids([row]) for row in range(len(three.plan))]
    # Without epochs every group is of the first, and rows are those that they always were.
    plain = RowSource(made_groups(20), 64, 8, 1, 2, 1)
    assert plain.plan == one.plan
    sizes, answers = (np.array([len(g.responses) if i else g.size for g in made_groups(20)]) for i in range(2))
    numbers = [seeded(1, "packing", epoch=epoch).getrandbits(63) for epoch in range(2)]
    assert plain.plan == [row for number in numbers for row in plan(sizes, answers, 64, 8, WINDOW, number)]


def test_an_epoch_of_which_no_group_fits_is_an_error_and_not_an_empty_one():
    groups = [g if g.epoch != 1 else dataclasses.replace(g, context=np.ones(80, int)) for g in for_epochs(9, 9)]
    assert RowSource(groups, 64, 8, 1, 1, 0).dropped == {NOT_TRAINED: 9}
    with pytest.raises(DataError, match="no group that was prepared for epoch 1 fits a row of 64 tokens"):
        RowSource(groups, 64, 8, 1, 2, 0)


def test_a_curriculum_goes_from_the_shortest_groups_to_the_longest_in_the_first_epoch_alone():
    groups = made_groups(50)
    source = RowSource(groups, 64, 8, 1, 2, 1, curriculum=4)
    plain = RowSource(groups, 64, 8, 1, 2, 1)
    order = [groups[int(name)].size for name in source.ids(range(len(source)))]
    first, stages = order[:50], (13, 13, 12, 12)
    ends = np.cumsum([0, *stages])
    cut = [first[start:end] for start, end in itertools.pairwise(ends)]
    assert [max(a) <= min(b) for a, b in itertools.pairwise(cut)] == [True] * 3
    assert sorted(first) == sorted(order[50:]) == sorted(group.size for group in groups), "nothing is left out"
    assert first != sorted(first), "within a stage they are mixed"
    # The second epoch is that of a run without.
    assert source.ids(range(len(source)))[50:] == plain.ids(range(len(plain)))[50:]
    # More stages than groups: the shortest first, one by one.
    one_by_one = RowSource(groups, 64, 8, 1, 1, 1, curriculum=99)
    assert [group.size for row in one_by_one.plan for group in map(groups.__getitem__, row)] == sorted(first)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 12))
def test_reading_goes_on_from_any_position_over_epochs_bit_for_bit(counts, epochs, taken):
    source = RowSource(for_epochs(*counts), 64, 8, 2, epochs, seed=3)
    whole = list(batches(source, 2))
    iterator = iter(batches(source, 2))
    for _ in range(min(taken, len(whole))):
        next(iterator)
    fresh = iter(batches(RowSource(for_epochs(*counts), 64, 8, 2, epochs, seed=3), 2))
    fresh.set_state(iterator.get_state())
    for expected, found in zip(whole[taken:], fresh, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(row_fields(expected), row_fields(found)))


def test_the_position_of_the_reader_is_one_number_and_restores_exactly():
    source = RowSource(made_groups(50), 64, 8, 2, 3, seed=1)
    whole = list(batches(source, 2))
    iterator = iter(batches(source, 2))
    for _ in range(4):
        next(iterator)
    state = iterator.get_state()
    fresh = iter(batches(source, 2))
    fresh.set_state(state)
    for expected, found in zip(whole[4:], fresh, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(row_fields(expected), row_fields(found)))


def test_processes_read_the_rows_they_name_of_the_same_steps():
    source = RowSource(made_groups(40), 64, 8, 4, 1, seed=2)
    for whole, first, second in zip(batches(source, 4), batches(source, 4, (0, 2)), batches(source, 4, (1, 3))):
        assert np.array_equal(whole.tokens[0::2], first.tokens)
        assert np.array_equal(whole.tokens[1::2], second.tokens)


def test_groups_longer_than_a_row_are_counted_and_none_fitting_is_an_error():
    groups = made_groups(20)
    limit = sorted(g.size for g in groups)[10]
    assert RowSource(groups, limit, 8, 1, 1, 0).dropped == {TOO_LARGE: sum(g.size > limit for g in groups)}
    with pytest.raises(DataError, match="none of 20 groups fits a row of 5 tokens"):
        RowSource(groups, 5, 8, 1, 1, 0)
    with pytest.raises(DataError, match="no groups"):
        RowSource([], 64, 8, 1, 1, 0)
