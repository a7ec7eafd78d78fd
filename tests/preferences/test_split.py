from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.split import components, function_key, links, split, without_overlap
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task


def task(id, functions, question=None):
    calls = tuple(Call(name, {}) for name in functions)
    message = Message("user", question if question is not None else f"question of {id}")
    return Task(id, "made", "simple", "Apache-2.0", Context((), (message,)), Reference(calls))


def ids(tasks):
    return [one.id for one in tasks]


@st.composite
def many_tasks(draw):
    functions = st.lists(st.sampled_from(["a.x", "a_x", "A.X", "b", "c", "d", "e", "f"]), max_size=2)
    questions = st.sampled_from([None, None, None, "How hot?", "how  HOT? "])
    rows = draw(st.lists(st.tuples(functions, questions), max_size=14))
    return [task(f"t{i:02}", *row) for i, row in enumerate(rows)]


def test_tasks_hang_together_by_reference_functions_through_others():
    tasks = [task("1", ["f"]), task("2", ["g"]), task("3", ["f", "h"]), task("4", ["h"]), task("5", [])]
    assert [ids(part) for part in components(tasks)] == [["1", "3", "4"], ["2"], ["5"]]


def test_case_dots_and_underscores_make_no_new_function():
    assert function_key("Weather.Get_Now") == function_key("weather_get.now")
    assert function_key("weather.get") != function_key("weatherget")


def test_the_same_question_hangs_together_and_no_question_does_not():
    tasks = [task("1", ["f"], "How  HOT?"), task("2", ["g"], "how hot? "), task("3", ["h"], ""), task("4", ["i"], " ")]
    assert [ids(part) for part in components(tasks)] == [["1", "2"], ["3"], ["4"]]


def test_a_function_and_a_question_of_one_name_are_not_the_same():
    assert len(components([task("1", ["f"], "x"), task("2", ["g"], "f")])) == 2


def test_a_task_without_reference_hangs_by_its_question_alone():
    assert links(replace(task("1", ["f"], "Q"), reference=None)) == {("question", "q")}


def test_an_id_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="'1' comes twice"):
        components([task("1", ["f"]), task("1", ["g"])])


@given(many_tasks(), st.floats(0, 0.99), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_split_shares_nothing_loses_nothing_and_ignores_order(tasks, share, seed, rng):
    train, held_out = split(tasks, share, seed)
    assert sorted(ids(train) + ids(held_out)) == ids(tasks)
    assert not set().union(*map(links, train)) & set().union(*map(links, held_out))
    assert len(held_out) <= round(share * len(tasks))
    shuffled = list(tasks)
    rng.shuffle(shuffled)
    assert split(shuffled, share, seed) == (train, held_out)
    assert components(shuffled) == components(tasks)


@given(many_tasks())
def test_components_are_closed_and_cannot_be_cut(tasks):
    """Checked against the plain definition: grow a set from its first task until nothing more is linked."""
    left, expected = list(tasks), []
    while left:
        part = [left.pop(0)]
        while grown := [one for one in left if any(links(one) & links(other) for other in part)]:
            part += grown
            left = [one for one in left if one not in grown]
        expected.append(sorted(ids(part)))
    assert [ids(part) for part in components(tasks)] == expected


def test_the_split_depends_on_the_seed_and_fills_its_share():
    tasks = [task(f"{i:03}", [f"f{i}"]) for i in range(100)]
    assert len(split(tasks, 0.2, 0)[1]) == 20
    assert ids(split(tasks, 0.2, 0)[1]) != ids(split(tasks, 0.2, 1)[1])


def test_a_component_larger_than_the_held_out_share_trains():
    tasks = [task(f"big{i}", ["f"]) for i in range(8)] + [task("small1", ["g"]), task("small2", ["h"])]
    for seed in range(5):
        assert ids(split(tasks, 0.2, seed)[1]) == ["small1", "small2"]


@pytest.mark.parametrize("share", [-0.1, 1, 2])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ConfigError, match="held_out_share"):
        split([], share, 0)


def test_overlap_with_the_test_side_is_dropped_by_function_and_by_question():
    test = [task("t1", ["Weather.get"], "How hot?"), task("t2", [], "Who won?")]
    train = [
        task("same function", ["weather_get"]),
        task("same question", ["other"], "who  WON?"),
        task("kept", ["unlike"]),
        task("one of two", ["fine", "weather.GET"]),
    ]
    kept, dropped = without_overlap(train, test)
    assert ids(kept) == ["kept"]
    assert ids(dropped) == ["same function", "same question", "one of two"]
    assert without_overlap(train, []) == (train, [])
