import ast
import json
import keyword
import math
import random
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toolrm_jax.toolcalls.parse import SIZE_LIMIT, Parsed, parse_hermes, parse_openai, parse_python
from toolrm_jax.toolcalls.render import openai_message, render_hermes, render_python
from toolrm_jax.toolcalls.types import Call, Message

TRICKY = st.sampled_from(
    ["</tool_call>", "<tool_call>", "</think>", "\\", '"', "'", "\n", "'''", "#", "\\u", "{", "😀"]
)
STRINGS = st.lists(st.one_of(st.text(max_size=5), TRICKY), max_size=4).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=8,
)
IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
CALLS = st.lists(st.builds(Call, STRINGS.filter(bool), st.dictionaries(STRINGS, JSON, max_size=3)), max_size=3)
PYTHON_CALLS = st.lists(
    st.builds(
        Call,
        st.lists(IDENTIFIERS, min_size=1, max_size=3).map(".".join),
        st.dictionaries(IDENTIFIERS, JSON, max_size=3),
    ),
    max_size=3,
)
# Pieces of all three notations, so that random texts get past the first character.
TAGS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "f", "arguments": ',
    '{"a": ',
    "}}",
    "<think>",
    "</think>",
    "`",
    "```json\n",
]
CODE = ["f(", "g.h(", "a=", "[", "]", "{", "}", "(", ")", ",", ":", "#", "*", "-", "x", "'", '"', "'''", "\n", " "]
HARD = ["1", "1e5", "0x", "True", "None", "NaN", "9" * 5000, "[" * 200, "\\", "\\u", "\\N{", "\ud800"]
PIECES = st.lists(st.sampled_from([*TAGS, *CODE, *HARD]) | st.text(max_size=3), max_size=15).map("".join)
ANY_TEXT = PIECES | st.text(st.characters(), max_size=60)


def same(left, right):
    """Equality that tells 1, 1.0 and True apart, and -0.0 from 0.0."""
    return repr(left) == repr(right)


def well_formed(parsed):
    assert isinstance(parsed, Parsed)
    parsed.text.encode()
    json.dumps([call.arguments for call in parsed.calls], allow_nan=False, ensure_ascii=False).encode()
    if parsed.fault is not None:
        assert parsed.calls == ()
        assert parsed.fault.strip()
        assert "\n" not in parsed.fault
        assert len(parsed.fault) < 200


@given(CALLS, STRINGS)
def test_hermes_gives_back_what_was_rendered(calls, text):
    assume("tool_call>" not in text and "think>" not in text)
    parsed = parse_hermes(render_hermes(calls, text))
    assert parsed.fault is None
    assert same(parsed.calls, tuple(calls))
    assert parsed.text == text.strip()


@given(CALLS)
def test_openai_gives_back_what_was_rendered(calls):
    message = openai_message(Message("assistant", "hi", tuple(calls)))
    assert same(parse_openai(message), Parsed(tuple(calls), "hi"))
    for entry in message.get("tool_calls", ()):
        entry["function"] = {**entry["function"], "arguments": json.dumps(entry["function"]["arguments"])}
    assert same(parse_openai(message), Parsed(tuple(calls), "hi"))


@given(PYTHON_CALLS)
def test_python_gives_back_what_was_rendered(calls):
    assert same(parse_python(render_python(calls)), Parsed(tuple(calls)))


@given(ANY_TEXT)
@settings(max_examples=300)
def test_no_text_raises(text):
    well_formed(parse_hermes(text))
    well_formed(parse_hermes(f'<tool_call>{{"name": "f", "arguments": {text}}}</tool_call>'))
    well_formed(parse_python(text))
    well_formed(parse_python(f"f(a={text})"))


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(st.characters()), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["content", "tool_calls", "function", "name", "arguments"]), inner, max_size=3)
)))  # fmt: skip
def test_no_message_raises(message):
    well_formed(parse_openai(message))
    well_formed(parse_openai({"tool_calls": [{"function": {"name": "f", "arguments": message}}]}))


LITERALS = st.lists(
    st.sampled_from(
        ["1", "-", "0", ".5", "e3", "_", "0x", "F", "'", '"', "a", "\\n", "\\x4", "\\'", "r", " ", "[", "]"]
    )
    | st.sampled_from(["(", ")", ",", "{", "}", ":", "True", "None", "'''", '"""', "\n", "\\\n", "#"]),
    max_size=8,
).map("".join)


@given(LITERALS | JSON.map(repr))
@settings(max_examples=500)
def test_python_values_are_read_as_pythons_own_literals(text):
    """Whatever we accept as a value, Python's literal_eval reads alike (tuples being lists)."""
    parsed = parse_python(f"f(a={text})")
    if parsed.fault is not None or len(parsed.calls) != 1 or list(parsed.calls[0].arguments) != ["a"]:
        return
    try:
        tree = ast.parse(f"f(a={text})", mode="eval")
    except SyntaxError:  # the text ends in a comment, which the bracket must not be part of
        tree = ast.parse(f"f(a={text}\n)", mode="eval")
    assert isinstance(tree.body, ast.Call)
    expected = ast.literal_eval(tree.body.keywords[0].value)
    assert same(parsed.calls[0].arguments["a"], json.loads(json.dumps(expected)))


# Python's reader refuses NUL and turns carriage returns into newlines; we keep both.
@given(
    st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["'", '"', "'''", '"""']),
)
def test_python_strings_are_read_as_pythons_own(content, quote):
    text = f"{quote}{content}{quote}"
    parsed = parse_python(f"f(a={text})")
    if parsed.fault is None:
        assert parsed.calls[0].arguments["a"] == ast.literal_eval(text)


@pytest.mark.parametrize("name", [*keyword.softkwlist, "from", "class", "in", "True"])
def test_python_arguments_may_be_named_like_keywords(name):
    assert parse_python(f"f({name}=1)").calls == (Call("f", {name: 1}),)


def adversarial(size):
    """Texts of about `size` characters made to exhaust a stack or to make a reader go over them again and again."""

    def fill(before, unit, after=""):
        return before + unit * ((size - len(before) - len(after)) // len(unit)) + after

    hermes, closing = '<tool_call>{"name": "f", "arguments": {"a": ', "}}</tool_call>"
    for unit in ["[", "{", "(", "f(", "f(a=", "[]", "<tool_call>", "</tool_call>", "<think>", "9", '"', "'", "\\", "`"]:
        yield fill("", unit)
        yield fill("f(a=", unit)
        yield fill("[f(a=[", unit)
        yield fill(hermes, unit)
    for unit in [
        "1,",
        "[],",
        "{},",
        '"",',
        '"',
        "-",
        "#\n",
        "\\\n",
        " ",
        "1_",
        "a.",
        "not ",
        "1+",
        "lambda:",
        "f(),",
        '""',
    ]:
        yield fill("f(a=[", unit, "])")
        yield fill("f(a=", unit)
        yield fill(hermes + "[", unit, "1]" + closing)
    for unit in ["x", '\\"', "\\u0041", "\\ud800", "\\N{", "''", '""', "\\x"]:
        yield fill('f(a="', unit)
        yield fill('f(a="', unit, '")')
        yield fill('f(a="""', unit)
        yield fill(hermes + '"', unit)
        yield fill(hermes + '"', unit, '"' + closing)
    yield fill("", '<tool_call>{"name": "f", "arguments": {}}</tool_call>')
    yield fill("", '<tool_call>{"name": "f", "arguments": {}} ')
    yield fill("[", "f(),", "]")
    yield "f(a={" + ",".join(f'"{i}":1' for i in range(size // 10)) + "})"
    yield hermes + "{" + ",".join(f'"{i}":1' for i in range(size // 10)) + "}" + closing


@pytest.mark.parametrize("parse", [parse_hermes, parse_python])
def test_hostile_texts_of_a_megabyte_and_of_the_limit_take_under_a_second_each(parse):
    """Quadratic time would be minutes at the limit.

    Of this thread's own time the best of three tries counts: collecting the garbage of the tests before is no fault of
    the parser's.
    """
    for size in (1_000_000, SIZE_LIMIT):
        for text in adversarial(size):
            fastest = math.inf
            for _ in range(3):
                started = time.thread_time()
                parsed = parse(text)
                fastest = min(fastest, time.thread_time() - started)
                if fastest < 1.0:
                    break
            assert fastest < 1.0, (text[:60], len(text))
            assert parsed.fault is None or len(parsed.fault) < 200


def test_real_answers_of_models_parse_or_have_a_reason(data_folder):
    """About 2,000 lines of published BFCL results: no exception, and most prompted answers are calls."""
    files = sorted((data_folder("bfcl_outputs") / "raw").rglob("*.json"))
    chosen = random.Random(0).sample(files, min(200, len(files)))
    parsed = []
    for file in chosen:
        lines = file.read_text().splitlines()
        for line in lines[:: max(1, len(lines) // 10)]:
            answer = json.loads(line).get("result")
            if isinstance(answer, str):
                parsed.append(parse_python(answer))
                well_formed(parse_hermes(answer))
            elif isinstance(answer, list):
                entries = [item for item in answer if isinstance(item, dict) and len(item) == 1]
                functions = [{"name": name, "arguments": text} for item in entries for name, text in item.items()]
                parsed.append(parse_openai({"tool_calls": [{"function": function} for function in functions]}))
    for one in parsed:
        well_formed(one)
    assert len(parsed) > 1000
    assert sum(bool(one.calls) for one in parsed) > 0.5 * len(parsed)
