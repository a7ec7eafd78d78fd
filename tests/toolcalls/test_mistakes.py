"""Wrong answers made by rule: always wrong, distinct, seeded, of the kinds asked for, and not told by their length."""

import importlib.util
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.conversation import read_conversation
from toolrm_jax.toolcalls.equality import multiset
from toolrm_jax.toolcalls.mistakes import SHARES, length, make_mistakes, right_variants
from toolrm_jax.toolcalls.parse_hermes import parse_hermes
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Message, Reference, Task, Tool

WEATHER = Tool(
    "weather.get_forecast",
    "The forecast.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "City, e.g. 'Oslo'"},
            "days": {"type": "integer", "description": "Days ahead. Default is 7."},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "hourly": {"type": "boolean"},
            "fields": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city", "days"],
    },
)
NEWS = Tool(
    "search_news", "News.", {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
)
QUESTION = "What will the weather be in Paris for the next 3 days, in celsius? Not in Rome. Show 'wind' and 'rain'."
CALL = Call("weather.get_forecast", {"city": "Paris", "days": 3, "unit": "celsius", "fields": ["wind", "rain"]})


def task(reference, tools=(WEATHER, NEWS), question=QUESTION, name="t"):
    return Task(name, "s", "c", "l", Context(tools, (Message("user", question),)), reference)


ONE = task(Reference((CALL,)))
TWO = task(Reference((CALL, Call("search_news", {"query": "Paris"}))))
NONE = task(Reference())
LISTED = task(
    Reference((CALL,), accepted=({"city": ["Paris", "Paris, France"], "days": [3], "unit": ["celsius", ""],
                                  "fields": [["wind", "rain"]], "hourly": ["", False]},))
)  # fmt: skip


@pytest.mark.parametrize("asked", [ONE, TWO, LISTED, NONE], ids=["one", "two", "listed", "none"])
def test_every_mistake_is_wrong_and_differs_from_the_others(asked):
    for seed in range(30):
        made = make_mistakes(asked, seed, 6)
        assert len(made) == 6
        assert not any(judge(asked, candidate).right for candidate in made)
        parsed = [multiset(candidate.calls) for candidate in made if candidate.fault is None]
        assert len(set(parsed)) == len(parsed)
        assert len({candidate.raw for candidate in made if candidate.fault}) == len(made) - len(parsed)


@pytest.mark.parametrize("kind", list(ErrorType))
def test_a_kind_asked_for_is_the_kind_judged(kind):
    made = [candidate for seed in range(20) for candidate in make_mistakes(ONE, seed, 2, [kind])]
    assert len(made) >= 20
    for candidate in made:
        first, second = candidate.maker.removesuffix("+"), candidate.maker.endswith("+")
        assert first == f"rule:{kind.name.lower()}"
        assert second or judge(ONE, candidate).error_type is kind


def test_a_seed_a_task_and_an_epoch_fix_the_mistakes():
    first = make_mistakes(ONE, 0, 4)
    assert make_mistakes(ONE, 0, 4) == first
    assert make_mistakes(ONE, 1, 4) != first
    assert make_mistakes(ONE, 0, 4, epoch=1) != first
    assert make_mistakes(task(ONE.reference, name="other"), 0, 4) != first


def test_kinds_come_near_fc_rewardbenchs_shares():
    made = [c for seed in range(400) for c in make_mistakes(ONE, seed, 1)]
    kinds = Counter(ErrorType[c.maker.removeprefix("rule:").removesuffix("+").upper()] for c in made)
    total = sum(kinds.values())
    for kind, share in SHARES.items():
        assert abs(100 * kinds[kind] / total - share) < 7


def test_calls_of_several_are_left_out_far_more_often_than_added():
    counts = [len(c.calls) for seed in range(100) for c in make_mistakes(TWO, seed, 1, [ErrorType.NUMBER])]
    assert sum(count < 2 for count in counts) > 3 * sum(count > 2 for count in counts) > 0


def test_any_one_of_three_calls_may_be_the_one_left_out():
    calls = tuple(Call("search_news", {"query": query}) for query in ("Paris", "Rome", "Oslo"))
    three = task(Reference(calls))
    made = [c.calls for seed in range(150) for c in make_mistakes(three, seed, 1, [ErrorType.NUMBER])]
    assert all(kept in made for kept in (calls[1:], calls[::2], calls[:2], calls[:1]))


def test_a_single_call_is_left_out_about_as_often_as_one_is_added():
    counts = [len(c.calls) for seed in range(200) for c in make_mistakes(ONE, seed, 1, [ErrorType.NUMBER])]
    assert 0.3 < sum(count == 0 for count in counts) / len(counts) < 0.6


def test_where_no_call_is_right_an_offered_tool_is_called():
    for seed in range(20):
        for candidate in make_mistakes(NONE, seed, 2, epoch=3):
            assert candidate.calls
            if not candidate.maker.endswith("+"):
                for call in candidate.calls:
                    tool = NONE.context.tool(call.name)
                    assert set(tool.required) <= set(call.arguments) <= set(tool.properties)


def test_what_the_task_has_no_place_for_gives_way_or_is_fewer():
    bare = task(Reference((Call("ping", {}),)), (Tool("ping", "", {}),), "Ping!")
    assert len(make_mistakes(bare, 0, 3)) == 3
    assert make_mistakes(bare, 0, 3, [ErrorType.TYPE]) == ()
    assert make_mistakes(task(Reference(), ()), 0, 3) == ()


def test_neighbours_are_called_where_only_one_tool_is_offered():
    alone = task(ONE.reference, (WEATHER,))
    made = [c for seed in range(60) for c in make_mistakes(alone, seed, 2, [ErrorType.NAME], neighbours=(NEWS,))]
    named = Counter(call.name for candidate in made for call in candidate.calls)
    assert named["search_news"] > 5
    assert all("query" in c.calls[0].arguments for c in made if c.calls[0].name == "search_news" and c.maker[-1] != "+")


def test_what_nobody_asked_for_is_added_only_where_it_changes_something():
    """False, a default or "any" beside the right arguments would be wrong to a pedant only."""
    accepted = {key: [value] for key, value in CALL.arguments.items()} | {"hourly": [""], "days": ["", 3]}
    reference = Reference(
        (Call(CALL.name, {k: v for k, v in CALL.arguments.items() if k != "days"}),), accepted=(accepted,)
    )
    made = [c for seed in range(200) for c in make_mistakes(task(reference), seed, 2, [ErrorType.VALUE])]
    single = [c.calls[0].arguments for c in made if c.maker == "rule:value"]
    assert {arguments["hourly"] for arguments in single if "hourly" in arguments} == {True}


def test_one_of_a_listed_few_is_mostly_taken_for_another_of_them():
    made = [c for seed in range(300) for c in make_mistakes(ONE, seed, 2, [ErrorType.VALUE]) if c.maker[-1] != "+"]
    units = [c.calls[0].arguments["unit"] for c in made if c.calls[0].arguments["unit"] != "celsius"]
    assert units.count("fahrenheit") / len(units) > 0.6
    cities = {c.calls[0].arguments["city"] for c in made}
    assert "Rome" in cities
    assert not cities & {"celsius", "fahrenheit"}


def test_a_text_said_not_to_parse_does_not_give_the_right_calls():
    made = [c for seed in range(60) for c in make_mistakes(TWO, seed, 2, [ErrorType.FORMAT])]
    assert len({c.raw for c in made}) > 10
    for candidate in made:
        assert candidate.fault
        assert not candidate.calls
        parsed = parse_hermes(candidate.raw)
        assert parsed.fault or not judge(TWO, Candidate(parsed.calls)).right


def test_without_a_reference_there_is_nothing_to_be_wrong_about():
    with pytest.raises(DataError, match="t: has no reference"):
        make_mistakes(task(None), 0, 1)
    with pytest.raises(DataError, match="t: has no reference"):
        right_variants(task(None), 0, 1)


@pytest.mark.parametrize("asked", [ONE, TWO, LISTED, NONE], ids=["one", "two", "listed", "none"])
def test_right_variants_are_right_and_distinct_and_begin_with_the_reference(asked):
    made = right_variants(asked, 0, 5)
    assert len(made) == 5
    assert made[0] == Candidate(asked.reference.calls, maker="reference")
    assert all(judge(asked, candidate).right for candidate in made)
    assert len({json.dumps(candidate.to_json()) for candidate in made}) == 5
    assert right_variants(asked, 0, 5) == made
    assert right_variants(asked, 0, 1) == made[:1]


def test_right_variants_use_the_freedom_that_the_reference_gives():
    calls = [candidate.calls[0].arguments for seed in range(20) for candidate in right_variants(LISTED, seed, 5)]
    assert {call["city"] for call in calls} == {"Paris", "Paris, France"}
    assert {"unit" in call for call in calls} == {"hourly" in call for call in calls} == {True, False}
    assert len({next(iter(call)) for call in calls}) > 2
    ordered = task(Reference(TWO.reference.calls, ordered=True))
    names = {tuple(call.name for call in c.calls) for seed in range(20) for c in right_variants(ordered, seed, 4)}
    assert names == {("weather.get_forecast", "search_news")}


def test_spans_are_read_from_the_users_words():
    said = read_conversation(
        Context((), (Message("system", "Use Oslo"), Message("user", QUESTION + " It costs $1,250.5.")))
    )
    assert said.numbers == (3, 1250.5)
    assert said.names == ("Paris", "Rome")
    assert said.quoted == ("wind", "rain")
    assert "weather" in said.phrases


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


KEYWORDS = ("type", "enum", "items", "properties", "required", "description", "default")
TYPES = ("string", "integer", "number", "boolean", "array", "object")
names = st.sampled_from(["a", "date", "b_id", ""]) | st.text(max_size=3)
schemas = st.dictionaries(st.sampled_from(KEYWORDS), json_values | st.sampled_from(TYPES), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(names, json_values, max_size=3),
    st.dictionaries(names, json_values | schemas, max_size=3),
    st.text(max_size=60),
    st.integers(0, 9),
)
def test_odd_arguments_schemas_and_texts_are_survived(arguments, properties, text, seed):
    tool = Tool("f", "", {"type": "object", "properties": properties, "required": list(arguments)})
    odd = task(Reference((Call("f", arguments),)), (tool,), text)
    for candidate in make_mistakes(odd, seed, 4):
        assert not judge(odd, candidate).right
    assert all(judge(odd, candidate).right for candidate in right_variants(odd, seed, 3))


@pytest.mark.skipif(importlib.util.find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
def test_length_does_not_tell_right_from_wrong_on_bfcl():
    from toolrm_jax.sources.bfcl import read

    longer = shorter = total = 0
    for asked in read(categories=("live_simple", "live_parallel", "live_parallel_multiple", "live_multiple")):
        if asked.reference is None:
            continue
        right = length(Candidate(asked.reference.calls))
        for candidate in make_mistakes(asked, 0, 1):
            assert not judge(asked, candidate).right
            longer += length(candidate) > right
            shorter += length(candidate) < right
            total += 1
    assert total > 1300
    assert 0.45 < (longer + (total - longer - shorter) / 2) / total < 0.55
