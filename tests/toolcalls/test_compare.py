"""Our strict comparison with the reference."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.matching import accepts
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Message, Reference, Task, Tool

TOOL = Tool("f", "", {"type": "object", "properties": {key: {"type": "integer"} for key in "xyz"}, "required": ["x"]})


def task(reference):
    return Task("t", "s", "c", "l", Context((TOOL,), (Message("user", "?"),)), reference)


def f(**arguments):
    return Call("f", arguments)


def is_right(reference, *calls):
    return judge(task(reference), Candidate(calls)).right


def test_without_accepted_values_the_reference_alone_is_right():
    reference = Reference((f(x=1, y="Paris "),))
    assert is_right(reference, f(y="paris", x=1.0))
    assert not is_right(reference, f(x=1))
    assert not is_right(reference, f(x=1, y="paris", z=0))
    assert not is_right(reference, f(x=True, y="paris"))
    assert not is_right(reference, Call("g", {"x": 1, "y": "paris"}))
    assert not is_right(Reference((f(x=""),)), f())


def test_any_accepted_value_is_right_and_the_empty_string_lets_a_parameter_be_left_out():
    reference = Reference((f(x=1),), accepted=({"x": [1, 2], "y": ["", "a"], "z": [["b"]]},))
    assert is_right(reference, f(x=2, z=["B"]))
    assert is_right(reference, f(x=1, y="A", z=["b"]))
    assert is_right(reference, f(x=1, y="", z=["b"]))
    assert not is_right(reference, f(x=1))
    assert not is_right(reference, f(x=3, z=["b"]))
    assert not is_right(reference, f(x=1, y="c", z=["b"]))


def test_punctuation_is_not_folded():
    """BFCL's own checker takes "-5" for "5"."""
    assert not is_right(Reference((f(x="5"),)), f(x="-5"))


def test_calls_may_come_in_any_order_unless_the_reference_is_ordered():
    calls = (f(x=1), f(x=2))
    assert is_right(Reference(calls), *calls[::-1])
    assert not is_right(Reference(calls, ordered=True), *calls[::-1])
    assert is_right(Reference(calls, ordered=True), *calls)


def test_matching_is_one_to_one_and_not_greedy():
    reference = Reference((f(x=1), f(x=1)), accepted=({"x": [1, 2]}, {"x": [1]}))
    assert is_right(reference, f(x=1), f(x=2))  # a greedy match gives x=1 to the first and leaves x=2 without place
    assert is_right(reference, f(x=1), f(x=1))
    assert not is_right(reference, f(x=2), f(x=2))


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_right_iff_some_permutation_fits(accepted, given_values):
    reference = Reference(
        tuple(f(x=min(some)) for some in accepted), accepted=tuple({"x": [*some]} for some in accepted)
    )
    calls = [f(x=value) for value in given_values]
    fits = len(calls) == len(accepted) and any(
        all(accepts(reference, i, call) for i, call in enumerate(order)) for order in itertools.permutations(calls)
    )
    assert is_right(reference, *calls) == fits


def test_without_reference_calls_only_making_none_is_right():
    nothing = task(Reference((), "I cannot help with that."))
    assert judge(nothing, Candidate(text="No.")).right
    assert judge(nothing, Candidate()).score == 1.0
    wrong = judge(nothing, Candidate((f(x=1),)))
    assert (wrong.right, wrong.score, wrong.error_type) == (False, 0.0, ErrorType.NUMBER)
    assert not judge(nothing, Candidate(raw="<tool_call>", fault="empty")).right


def test_a_fault_is_wrong_whatever_it_stands_for():
    verdict = judge(task(Reference((f(x=1),))), Candidate(raw="f(x=1", fault="not\nclosed"))
    assert (verdict.right, verdict.score, verdict.error_type) == (False, 0.0, ErrorType.FORMAT)
    assert verdict.reason == "not closed"


def test_score_is_the_rule_score_and_1_where_right():
    reference = Reference((f(x=1, y=2),), accepted=({"x": [1], "y": [2, 3]},))
    assert judge(task(reference), Candidate((f(x=1, y=3),))).score == 1.0
    assert judge(task(reference), Candidate((f(x=1, y=4),))).score == pytest.approx(1 / 2)
    assert judge(task(Reference((f(x=1), f(x=1)))), Candidate((f(x=1), f(x=1)))).score == 1.0


def test_a_task_without_reference_cannot_be_judged():
    with pytest.raises(DataError, match="t: has no reference"):
        judge(task(None), Candidate())


def test_an_answer_nested_too_deep_is_wrong_and_does_not_stop_the_work():
    value = 0
    for _ in range(1000):
        value = [value]
    verdict = judge(task(Reference((f(x=1),))), Candidate((f(x=value),)))
    assert (verdict.right, verdict.error_type) == (False, ErrorType.FORMAT)
