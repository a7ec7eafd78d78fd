"""Which groups are drawn: paper A's mix, what is held out, and what falls out before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.index import MULTI, NO_CALL, SINGLE, make_index, read_index, record_key, task_class
from toolrm_jax.preferences.select import Indexes, Pick, mixed_quotas, select_balanced, select_mixed
from toolrm_jax.preferences.selected import cut
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Choice,
    Context,
    ErrorType,
    Group,
    Message,
    Reference,
    Task,
    Tool,
    Verdict,
)  # fmt: skip


def group(i, kind=SINGLE, wrong=3, source="a", talk=None, calls=None):
    first = Message("user", f"{talk if talk is not None else i} is what I want, number {i if talk is None else ''}")
    messages = (first, Message("assistant", "ok"), Message("user", f"and {i}")) if kind == MULTI else (first,)
    made = calls if calls is not None else () if kind == NO_CALL else (Call("f", {"x": i}),)
    task = Task(f"t{i}", source, "c", "l", Context((Tool("f", "", {}),), messages), Reference(made, f"no {i}"))
    verdicts = (Verdict(True, 1.0), *(Verdict(False, 0.0, ErrorType.VALUE) for _ in range(wrong)))
    return Group(task, tuple(Candidate(maker=str(k)) for k in range(wrong + 1)), verdicts)


def indexes(tmp_path, groups, size=4):
    """The groups' indexes in shards of `size`."""
    paths = []
    for start in range(0, len(groups), size):
        some = groups[start : start + size]
        index = make_index(some, [one.task for one in some], 0, {})
        path = tmp_path / f"index-{start:05d}.npz"
        path.write_bytes(index.to_bytes())
        paths.append(path)
    return Indexes(paths)


def drawn(selection, groups, size=4):
    """Ids of all picked groups with the pairs kept of each."""
    found = {}
    for picks in selection.picks.values():
        for pick in picks:
            one = groups[pick.shard * size + pick.row]
            found[one.task.id] = pick.wrong if pick.wrong is not None else len(one.verdicts) - 1
    return found


def test_an_index_comes_back_with_its_columns_or_some_of_them(tmp_path):
    groups = [group(1), group(2, NO_CALL, source="b"), group(3, MULTI, wrong=1)]
    path = tmp_path / "index.npz"
    path.write_bytes(make_index(groups, [one.task for one in groups], 0, {"shard": None}).to_bytes())
    index = read_index(path)
    assert index.facts == {"shard": None}
    assert index.keys.tolist() == [record_key(0, f"t{i}") for i in (1, 2, 3)]
    assert [(s.source, s.complexity, s.scores, s.place) for s in index.scored(10)] == [
        ("a", 2, (1.0, 0.0, 0.0, 0.0), 10), ("b", 0, (1.0, 0.0, 0.0, 0.0), 11), ("a", 2, (1.0, 0.0), 12)
    ]  # fmt: skip
    assert index.classes.tolist() == [SINGLE, NO_CALL, MULTI] == [task_class(one.task) for one in groups]
    assert len(read_index(path, "keys").sketches) == 0
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="not an index"):
        read_index(path)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 400)] * 3), st.integers(1, 500), st.tuples(*[st.integers(0, 90)] * 3))
def test_quotas_of_the_mix_keep_to_the_shares_as_far_as_supply_goes(supply, total, shares):
    if not sum(shares[:2]):
        return
    single, multi, none = mixed_quotas(supply, total, shares)
    assert 0 <= single <= supply[0]
    assert 0 <= multi <= supply[1]
    assert 0 <= none <= supply[2]
    calling = total * sum(shares[:2]) // sum(shares)
    assert single + multi == min(calling, supply[0] + supply[1])
    assert none == min(supply[2], (single + multi) * shares[2] // sum(shares[:2]))
    if min(supply) >= total:
        assert single == calling * shares[0] // sum(shares[:2])


def test_with_enough_of_all_the_mix_is_85_to_85_to_10(tmp_path):
    assert mixed_quotas((9999, 9999, 9999), 1800, (85, 85, 10)) == [850, 850, 100]
    groups = [group(i, (SINGLE, MULTI, NO_CALL)[i % 3]) for i in range(120)]
    selection = select_mixed(indexes(tmp_path, groups), 90, (85, 85, 10), 0, 0)
    kinds = np.zeros(3, int)
    for name, pairs in drawn(selection, groups).items():
        kinds[int(name[1:]) % 3] += pairs
    assert kinds.tolist() == mixed_quotas((120, 120, 120), 90, (85, 85, 10)) == [42, 43, 5]


def test_a_smaller_draw_is_part_of_a_larger_one(tmp_path):
    groups = [group(i) for i in range(40)]
    small, large = (
        drawn(select_mixed(indexes(tmp_path, groups), total, (1, 1, 0), 0, 0), groups) for total in (20, 50)
    )
    assert sum(small.values()) == 20
    assert sum(large.values()) == 50
    assert set(small) < set(large)


def test_whole_conversations_are_held_out_and_no_more_than_asked_for(tmp_path):
    groups = [group(i, MULTI, talk=i // 4) for i in range(48)]
    selection = select_mixed(indexes(tmp_path, groups), 144, (0, 1, 0), 30, 0)
    talks = [{(pick.shard * 4 + pick.row) // 4 for pick in selection.picks[side]} for side in ("train", "held_out")]
    assert not talks[0] & talks[1]
    assert len(talks[1]) == 2  # of twelve pairs each


def test_repeated_ids_and_near_duplicates_are_not_drawn(tmp_path):
    same = (Call("f", {"x": 0}),)
    long = "a rather long question of many words that are all the same but for the very end of it"
    groups = [group(1), group(1), group(2, talk=long, calls=same), group(3, talk=long, calls=same), group(4)]
    found = indexes(tmp_path, groups)
    assert found.drop_repeated() == 1
    assert found.drop_near(0.85, tmp_path / "scratch") == 1
    assert not (tmp_path / "scratch").exists()
    assert found.kept.tolist() == [True, False, True, False, True]
    assert set(drawn(select_balanced(found, 100, 0, 0), groups)) == {"t1", "t2", "t4"}


def test_pairs_over_the_highest_complexity_are_not_drawn(tmp_path):
    heavy = (Call("f", {str(k): k for k in range(50)}),)
    selection = select_balanced(indexes(tmp_path, [group(1), group(2, calls=heavy)]), 100, 0, 0)
    assert selection.drops == {"of a complexity over 50": 1, "not drawn": 0}


def test_a_picked_record_keeps_what_its_choices_name_under_their_new_places():
    record = group(1, wrong=4).to_json()
    chosen = cut(record, Pick(0, 0, (Choice(0, 3), Choice(1, 3, True))))
    assert [one["maker"] for one in chosen["candidates"]] == ["0", "1", "3"]
    assert chosen["choices"] == [{"better": 0, "worse": 2}, {"better": 1, "worse": 2, "swapped": True}]
    assert Group.from_json(chosen).choices == (Choice(0, 2), Choice(1, 2, True))
    assert Group.from_json(chosen).to_json() == chosen
    assert [one["maker"] for one in cut(record, Pick(0, 0, wrong=2))["candidates"]] == ["0", "1", "2"]
    assert cut(record, Pick(0, 0)) == record


@pytest.mark.parametrize("shares", [(1, 1), (0, 0, 1), (-1, 2, 3)])
def test_shares_that_are_none_are_refused(tmp_path, shares):
    with pytest.raises(ConfigError, match="mix="):
        select_mixed(indexes(tmp_path, [group(1)]), 10, shares, 0, 0)
