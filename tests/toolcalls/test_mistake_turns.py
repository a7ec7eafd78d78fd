"""Mistakes of conversations: each kind by an example whose wrong answer is known, and what holds for all."""

from dataclasses import replace

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import multiset
from toolrm_jax.toolcalls.mistake_turns import (
    ASK_AGAIN,
    CALL_TOO_SOON,
    DUPLICATE,
    KINDS,
    OTHER_TURN,
    OUT_OF_ORDER,
    STALE_VALUE,
    has_turns,
    make_turn_mistakes,
)
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Stale, Task, Tool


def tool(name, *parameters):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return Tool(name, "", {"type": "object", "properties": properties, "required": list(parameters)})


FIND, BOOK = tool("find_hotel", "city", "stars"), tool("book_hotel", "city", "nights")
FIRST = Call("find_hotel", {"city": "Oslo", "stars": "3"})
NEXT = Call("find_hotel", {"city": "Rome", "stars": "3"})
SAID = (
    Message("user", "A hotel in Oslo, 3 stars."),
    Message("assistant", "", (FIRST,)),
    Message("tool", "[]", name="find_hotel"),
    Message("assistant", "There is none."),
    Message("user", "Then in Rome."),
)
CALLING = Task("c", "s", "c", "l", Context((FIND, BOOK), SAID), Reference((NEXT,)))
ASKING = Task("a", "s", "c", "l", Context((FIND, BOOK), SAID[:4]), Reference(text="In which other city?"))
ORDERED = Task(
    "o", "s", "c", "l", Context((FIND, BOOK), SAID),
    Reference((NEXT, Call("book_hotel", {"city": "Rome", "nights": "2"})), ordered=True),
)  # fmt: skip


def made(task, kind, seeds=20, **more):
    """The candidates of one kind over some seeds."""
    return [one for seed in range(seeds) for one in make_turn_mistakes(task, seed, 1, [kind], **more)]


def test_a_stale_value_is_that_of_the_earlier_call():
    assert [one.calls for one in made(CALLING, STALE_VALUE, 5)] == [(FIRST,)] * 5


def test_a_value_that_the_source_says_the_user_took_back_goes_first():
    marked = replace(CALLING, stale=(Stale(0, "stars", "5"),))
    wrong = Call("find_hotel", {"city": "Rome", "stars": "5"})
    assert [one.calls for one in made(marked, STALE_VALUE, 5)] == [(wrong,)] * 5


def test_a_call_for_another_turn_is_an_earlier_one():
    assert [one.calls for one in made(CALLING, OTHER_TURN, 5)] == [(FIRST,)] * 5
    assert [one.calls for one in made(ASKING, OTHER_TURN, 5)] == [(FIRST,)] * 5


def test_instead_of_asking_an_offered_tool_is_called_with_what_is_known():
    found = made(ASKING, CALL_TOO_SOON)
    assert {one.calls[0].name for one in found} == {"find_hotel", "book_hotel"}
    assert {one.calls[0].arguments["city"] for one in found} == {"Oslo"}
    assert made(CALLING, CALL_TOO_SOON) == []


def test_instead_of_calling_the_assistant_speaks():
    found = made(CALLING, ASK_AGAIN, 40)
    assert all(one.text and not one.calls for one in found)
    assert any("stars" in one.text for one in found)
    assert made(ASKING, ASK_AGAIN) == []


def test_out_of_order_means_swapped_or_a_step_skipped():
    swapped = ORDERED.reference.calls[::-1]
    assert [one.calls for one in made(ORDERED, OUT_OF_ORDER, 3)] == [swapped] * 3
    skipped = [one.calls for one in made(CALLING, OUT_OF_ORDER)]
    assert all(len(calls) == 1 and calls[0].name == "book_hotel" for calls in skipped)
    assert all(calls[0].arguments["city"] == "Rome" for calls in skipped)


def test_a_duplicate_repeats_a_call_of_now_or_of_before():
    found = {tuple(call.arguments["city"] for call in one.calls) for one in made(CALLING, DUPLICATE)}
    assert found == {("Rome", "Rome"), ("Oslo", "Rome")}


@pytest.mark.parametrize("task", [CALLING, ASKING, ORDERED], ids=lambda task: task.id)
def test_all_are_wrong_distinct_named_and_fixed_by_seed_and_task(task):
    for seed in range(20):
        found = make_turn_mistakes(task, seed, 6)
        assert found == make_turn_mistakes(task, seed, 6)
        assert not any(judge(task, one).right for one in found)
        assert len({multiset(one.calls) for one in found}) == len(found)
        assert {one.maker for one in found} <= {f"rule:{kind}" for kind in KINDS}
        assert found[:2] == make_turn_mistakes(task, seed, 2)
    assert len({repr(make_turn_mistakes(task, seed, 1)) for seed in range(20)}) > 1
    assert len({repr(make_turn_mistakes(task, 0, 1, epoch=epoch)) for epoch in range(20)}) > 1


def test_a_first_turn_has_no_place_for_what_needs_an_earlier_one():
    first = Task("f", "s", "c", "l", Context((FIND,), SAID[:1]), Reference((FIRST,)))
    assert not has_turns(first)
    assert has_turns(CALLING)
    for kind in (STALE_VALUE, OTHER_TURN, OUT_OF_ORDER, CALL_TOO_SOON):
        assert made(first, kind) == []
    bare = Task("b", "s", "c", "l", Context((), ()), Reference())
    assert make_turn_mistakes(bare, 0, 6) == ()


def test_without_a_reference_there_is_nothing_to_be_wrong_about():
    with pytest.raises(DataError, match="u: has no reference"):
        make_turn_mistakes(Task("u", "s", "c", "l", Context((), ())), 0, 1)
