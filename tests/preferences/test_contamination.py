"""What a benchmark shares with training data is found, named, and nothing else is."""

import pytest

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.contamination import CALLS, FUNCTION, QUESTION, Benchmarks, Removed, check_kinds
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task


def task(name, said, *calls):
    return Task(name, "s", "c", "l", Context((), (Message("user", said),)), Reference(calls))


BENCHMARK = [
    task("b1", "What is the weather in Oslo?", Call("Weather.get", {"city": "Oslo"})),
    task("b2", "Ping!", Call("ping", {})),
    task("b3", "Hello"),
]


@pytest.fixture
def benchmarks(tmp_path):
    made = Benchmarks()
    made.add(BENCHMARK)
    made.save(tmp_path / "benchmarks.json")
    return Benchmarks.load(tmp_path / "benchmarks.json")


def test_a_shared_function_question_or_call_is_named(benchmarks):
    same_function = task("1", "Rome?", Call("weather_get", {"city": "Rome"}))
    assert benchmarks.found_in(same_function) == Removed("1", "s", FUNCTION, "s b1", "weather_get")
    same_words = task("2", " what is the WEATHER  in oslo?", Call("f", {"x": 1}))
    assert benchmarks.found_in(same_words) == Removed("2", "s", QUESTION, "s b1", "what is the weather in oslo?")
    same_calls = task("3", "Other words", Call("Weather.get", {"city": "oslo"}))
    assert benchmarks.found_in(same_calls, (CALLS,)) == Removed("3", "s", CALLS, "s b1", "Weather.get(city)")


def test_what_shares_nothing_stays(benchmarks):
    assert benchmarks.found_in(task("1", "Hello you", Call("pong", {}))) is None
    assert benchmarks.found_in(task("2", "Ping?", Call("ping", {})), (QUESTION, CALLS)) is None
    assert benchmarks.found_in(task("3", "hello")).shares == QUESTION
    assert Benchmarks().found_in(BENCHMARK[0]) is None


def test_a_kind_that_is_not_known_is_refused():
    check_kinds((FUNCTION, QUESTION))
    with pytest.raises(ConfigError, match="'word'"):
        check_kinds(("word",))
