"""A mistake in an answer of several calls is mostly made in more than one of them, and there alike."""

import random
from collections import Counter

import pytest

from toolrm_jax.toolcalls.conversation import read_conversation
from toolrm_jax.toolcalls.mistake_calls import EDITS, Scene
from toolrm_jax.toolcalls.mistake_repeats import repeated
from toolrm_jax.toolcalls.mistakes import make_mistakes, right_variants
from toolrm_jax.toolcalls.types import Call, Context, ErrorType, Message, Reference, Task, Tool

TRIPS = Tool(
    "plan_trip",
    "A trip.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "pace": {"type": "string", "enum": ["slow", "usual", "quick"]},
        },
        "required": ["city", "days"],
    },
)
CITIES = (("Paris", 3), ("Rome", 5), ("Oslo", 8))
CALLS = tuple(Call("plan_trip", {"city": city, "days": days, "pace": "slow"}) for city, days in CITIES)
QUESTION = "Plan slow trips: Paris for 3 days, Rome for 5 days and Oslo for 8 days."
ACCEPTED = tuple({"city": [city], "days": [days], "pace": ["slow", ""]} for city, days in CITIES)
TASK = Task(
    "t", "s", "c", "l", Context((TRIPS,), (Message("user", QUESTION),)), Reference(CALLS, None, ACCEPTED, ordered=True)
)
SCENE = Scene(TASK.context.tools, TASK.reference, read_conversation(TASK.context), ())
ONE_BY_ONE = (ErrorType.VALUE, ErrorType.NAME, ErrorType.TYPE, ErrorType.MISSING_REQUIRED, ErrorType.UNEXPECTED)


def changed(calls):
    """Which calls differ from the reference, and in what: the name, or these parameters."""
    found = []
    for old, new in zip(CALLS, calls):
        if new.name != old.name:
            found.append("name")
        elif new.arguments != old.arguments:
            names = old.arguments.keys() | new.arguments.keys()
            found.append(frozenset(n for n in names if old.arguments.get(n) != new.arguments.get(n)))
    return found


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_an_edit_repeated_changes_every_call_of_a_tool_in_the_same_place(kind):
    alike = total = 0
    for seed in range(40):
        made = repeated(EDITS[kind], random.Random(seed), SCENE, CALLS)
        if made is not None:
            where = changed(made.calls)
            assert len(made.calls) == len(CALLS)
            total += 1
            alike += len(where) == len(CALLS) and len(set(where)) == 1
    assert total >= 30
    assert alike >= 0.6 * total  # not all: an edit that draws from the conversation may draw the value there was


def test_calls_of_unlike_tools_are_each_edited():
    other = Tool("book_room", "A room.", {"type": "object", "properties": {"city": {"type": "string"}}})
    calls = (CALLS[0], Call("book_room", {"city": "Paris"}))
    scene = Scene((TRIPS, other), Reference(calls), SCENE.said, ())
    made = repeated(EDITS[ErrorType.UNEXPECTED], random.Random(0), scene, calls)
    assert all(new != old for new, old in zip(made.calls, calls))


def test_most_mistakes_in_several_calls_are_in_more_than_one_of_them():
    kinds = list(ONE_BY_ONE)
    counts = Counter(
        len(changed(candidate.calls)) > 1
        for seed in range(150)
        for candidate in make_mistakes(TASK, seed, 2, kinds)
        if len(candidate.calls) == len(CALLS) and not candidate.maker.endswith("+")
    )
    assert 0.45 <= counts[True] / counts.total() <= 0.95


def test_optional_values_are_mostly_given_in_all_calls_of_a_tool_or_in_none():
    given = Counter(
        len({"pace" in call.arguments for call in candidate.calls}) == 1
        for seed in range(60)
        for candidate in right_variants(TASK, seed, 4)[1:]
    )
    # Drawn for each call alone, it would be about 0.37; equal answers count once, so fewer than drawn.
    assert 0.55 <= given[True] / given.total() < 1
