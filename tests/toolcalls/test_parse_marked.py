"""Calls as the model families write them: what their templates ask for is read back, anything else is told apart."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.toolcalls.formats import FORMATS, looks_like_calls, notations_of
from toolrm_jax.toolcalls.parse_marked import (
    parse_deepseek,
    parse_granite,
    parse_llama,
    parse_mistral,
    parse_unmarked,
    parse_xlam,
)
from toolrm_jax.toolcalls.parsed import DEPTH_LIMIT, SIZE_LIMIT, Parsed
from toolrm_jax.toolcalls.render import render_hermes, render_python
from toolrm_jax.toolcalls.types import Call

WEATHER = Call("get_weather", {"city": "Pariṣ", "days": 2})
CLOCK = Call("clock.read", {})
BOTH = (WEATHER, CLOCK)


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def listed(calls, key="arguments"):
    return dumps([{"name": call.name, key: call.arguments} for call in calls])


def each(calls):
    return [dumps({"name": call.name, "arguments": call.arguments}) for call in calls]


def deepseek_v3(calls):
    parts = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call.name}\n```json\n{dumps(call.arguments)}\n```<｜tool▁call▁end｜>"
        for call in calls
    )
    return f"<｜tool▁calls▁begin｜>{parts}<｜tool▁calls▁end｜>"


def deepseek_v31(calls):
    parts = "".join(
        f"<｜tool▁call▁begin｜>{call.name}<｜tool▁sep｜>{dumps(call.arguments)}<｜tool▁call▁end｜>" for call in calls
    )
    return f"<｜tool▁calls▁begin｜>{parts}<｜tool▁calls▁end｜>"


def mistral_v11(calls):
    return "".join(f"[TOOL_CALLS]{call.name}[ARGS]{dumps(call.arguments)}" for call in calls)


def llama(calls):
    return "; ".join(dumps({"name": call.name, "parameters": call.arguments}) for call in calls)


WRITERS = {
    "hermes": ("hermes", render_hermes),
    "granite 3": ("granite", lambda calls: f"<|tool_call|>{listed(calls)}<|end_of_text|>"),
    "granite 3.0": ("granite", lambda calls: f"<tool_call>{listed(calls)}"),
    "granite 4": ("granite", render_hermes),
    "granite 20b": (
        "granite",
        lambda calls: " ".join(
            f"<function_call> {dumps({'name': call.name, 'arguments': call.arguments})}" for call in calls
        ),
    ),
    "mistral 3": ("mistral", lambda calls: f"[TOOL_CALLS] {listed(calls)}</s>"),
    "mistral 11": ("mistral", mistral_v11),
    "llama JSON": ("llama", lambda calls: f"{llama(calls)}<|eot_id|>"),
    "llama behind its tag": ("llama", lambda calls: f"<|python_tag|>{llama(calls)}<|eom_id|>"),
    "llama pythonic": ("llama", render_python),
    "llama 4": ("llama", lambda calls: f"<|python_start|>{render_python(calls)}<|python_end|><|eot|>"),
    "xlam": ("xlam", listed),
    "xlam fenced": ("xlam", lambda calls: f"```json\n{listed(calls)}\n```"),
    "xlam 1": ("xlam", lambda calls: f'{{"tool_calls": {listed(calls)}}}'),
    "deepseek 3": ("deepseek", lambda calls: deepseek_v3(calls) + "<｜end▁of▁sentence｜>"),
    "deepseek 3.1": ("deepseek", deepseek_v31),
    "python": ("python", render_python),
    "JSON in lines": ("json", lambda calls: "\n".join(each(calls))),
    "JSON fenced": ("json", lambda calls: "\n".join(f"```json\n{one}\n```" for one in each(calls))),
    "JSON in one fence": ("json", lambda calls: f"```\n{'; '.join(each(calls))}\n```"),
    "JSON in a fence never closed": ("json", lambda calls: f"```json\n{listed(calls)}"),
    "JSON in tags": ("json", lambda calls: f"<tools>\n{listed(calls, 'parameters')}\n</tools>"),
    "JSON of OpenAI's name": ("json", lambda calls: f'{{"tool_calls": {listed(calls)}}}'),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("calls", [(WEATHER,), BOTH], ids=["one", "two"])
@pytest.mark.parametrize("thinking", ["", "<think>\nNo [TOOL_CALLS] {\n</think>\n\n"], ids=["", "thinking"])
def test_what_a_family_writes_is_read_back(writer, calls, thinking):
    name, write = WRITERS[writer]
    assert FORMATS[name](thinking + write(calls)) == Parsed(calls, "")


IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TRICKY = ["</s>", "[TOOL_CALLS]", "[ARGS]", "```", "<｜tool▁call▁end｜>", ";", "{", '"', "\\", "<|eot_id|>", "\n"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(TRICKY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
CALLS = st.lists(st.builds(Call, IDENTIFIERS, st.dictionaries(IDENTIFIERS, VALUES, max_size=3)), min_size=1, max_size=3)
# Granite 20b's blocks are not closed, and what parts Mistral's and DeepSeek's calls is looked for only outside JSON.
ROUND = [name for name in WRITERS if name != "granite 20b"]


@pytest.mark.parametrize("writer", ROUND)
@given(calls=CALLS)
def test_any_call_comes_back_even_with_marks_of_the_notation_in_its_values(writer, calls):
    name, write = WRITERS[writer]
    assert FORMATS[name](write(calls)) == Parsed(tuple(calls), "")


@pytest.mark.parametrize(
    ("parse", "text", "kept"),
    [
        (parse_granite, f"Let me look.\n<|tool_call|>{listed(BOTH)}", "Let me look."),
        (parse_mistral, f"Let me look.[TOOL_CALLS]{listed(BOTH)}", "Let me look."),
        (parse_deepseek, f"Let me look.\n{deepseek_v3(BOTH)}", "Let me look."),
        (parse_deepseek, f"{deepseek_v31(BOTH)}\nDone.", "Done."),
        (parse_unmarked, f"Let me look:\n\n{listed(BOTH)}", "Let me look:"),
        (parse_unmarked, f"Certainly! ```json\n{each(BOTH)[0]}\n``` and ```{each(BOTH)[1]}```", "Certainly!\nand"),
    ],
)
def test_text_beside_the_calls_is_kept(parse, text, kept):
    assert parse(text) == Parsed(BOTH, kept)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", ["", "  ", "Which city do you mean?", "It is 5 o'clock. <|eot_id|>"])
def test_an_answer_in_words_is_text_without_a_fault(name, text):
    parsed = FORMATS[name](text)
    assert (parsed.calls, parsed.fault) == ((), None)
    assert parsed.text in (text.strip(), text.removesuffix(" <|eot_id|>"))


@pytest.mark.parametrize(
    "text",
    [
        'The rows are\n```json\n{"city": "Ulm", "days": 2}\n```',
        '[{"city": "Ulm"}]',
        "```python\nprint({})\n```",
        'It is {"name": "f", "arguments": {}} that you want.',
    ],
)
def test_json_that_does_not_begin_as_a_call_where_a_call_may_stand_is_words(text):
    assert parse_unmarked(text) == Parsed((), text)
    assert not looks_like_calls(text)


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "python" and "pythonic" not in name])
def test_what_one_notation_writes_is_told_from_words_and_its_notation_found(writer):
    name, write = WRITERS[writer]
    text = write(BOTH).replace("parameters", "arguments") if writer == "JSON in tags" else write(BOTH)
    assert looks_like_calls(text)
    assert name in notations_of(text)


def test_a_fence_within_a_line_bears_the_marks_too():
    text = f"Here: ```json {each(BOTH)[0]}```"
    assert looks_like_calls(text)
    assert parse_unmarked(text) == Parsed((WEATHER,), "Here:")


def test_granites_no_function_is_no_call():
    assert parse_granite('<function_call> {"name": "no_function", "arguments": {}}') == Parsed((), "")


@pytest.mark.parametrize("text", ["[]", "```json\n[]\n```", '{"tool_calls": []}'])
def test_an_empty_list_is_no_call(text):
    assert parse_xlam(text) == parse_unmarked(text) == Parsed((), "")


@pytest.mark.parametrize(
    ("parse", "text", "fault"),
    [
        (parse_granite, '<|tool_call|>[{"name": "f"}]', "call 1: no arguments"),
        (parse_granite, '<|tool_call|>[{"name": "f", "arguments": {}}', "not JSON: a bracket is not closed"),
        (parse_granite, '<tool_call>{"name": "f"}</tool_call>', "block 1: no arguments"),
        (parse_granite, "<function_call> f()", "not JSON: Expecting value at character 0"),
        (parse_mistral, '[TOOL_CALLS][{"name": "f", "arguments": 1}]', "call 1: arguments: expected an object, found"),
        (parse_mistral, '[TOOL_CALLS]f{"a": 1}', "call 1: no [ARGS] after 'f{\"a\": 1}'"),
        (parse_mistral, "[TOOL_CALLS]f[ARGS]", "not closed"),
        (parse_mistral, "[TOOL_CALLS]f[ARGS][1]", "not a JSON object but '[1]'"),
        (parse_llama, '{"name": "f", "parameters": {}} and {"name": "g"}', "call 2: text after the JSON object"),
        (parse_llama, '{"name": "f"}', "call 1: no arguments"),
        (parse_llama, '{"type": "function"}', "call 1: no name"),
        (parse_unmarked, '```json\n{"name": "f", "arguments": {"a": 1', "not JSON: a bracket is not closed"),
        (parse_unmarked, '{"name": "f", "arguments": {}}\n{"name": "g"}', "call 2: no arguments"),
        (parse_unmarked, '{"tool_calls": 1}', "not a list of calls"),
        (parse_unmarked, '```\n{"name": "f", "arguments": [{}]}\n```', "call 1: arguments: expected an object, found"),
        (parse_llama, "[f(1)]", "an argument of 'f' has no name"),
        (parse_xlam, "[1]", "call 1: expected an object, found a number"),
        (parse_xlam, '{"tool_calls": 1}', "not a list of calls"),
        (parse_xlam, "[" * (DEPTH_LIMIT + 1), f"nested deeper than {DEPTH_LIMIT}"),
        (parse_deepseek, "<｜tool▁calls▁begin｜>f", "the block of calls is not closed"),
        (parse_deepseek, deepseek_v31([WEATHER])[: -len("<｜tool▁calls▁end｜>")], "the block of calls is not closed"),
        (parse_deepseek, deepseek_v31([WEATHER]).split("<｜tool▁call▁end｜>")[0], "call 1: not closed"),
        (parse_deepseek, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}", "a call outside of the block of calls"),
        (parse_deepseek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f", "call 1: no separator"),
    ],
)
def test_a_malformed_call_is_a_fault_of_the_whole_answer(parse, text, fault):
    parsed = parse(text)
    assert parsed.calls == ()
    assert parsed.fault is not None
    assert parsed.fault.startswith(fault)
    assert parsed.text == text.strip()


MARKS = [
    "<tool_call>", "</tool_call>", "<|tool_call|>", "<function_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>",
    "<|python_end|>", "<think>", "</think>", "```json\n", "```", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>",
    "function", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", '{"name": "f", "arguments": {}}',
    '{"name": "f", "parameters":', '{"tool_calls": ', "[", "]", "{", "}", "f(", ")", "a=", ";", ",", "\n", " ", '"',
    "\\", "\\ud800", "NaN", "9" * 400, "</s>", "<tools>",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=14).map("".join)


@pytest.mark.parametrize("name", FORMATS)
@given(text=PIECES | st.text(st.characters(), max_size=60))
def test_no_text_raises_and_what_comes_back_can_be_stored(name, text):
    parsed = FORMATS[name](text)
    json.dumps([call.to_json() for call in parsed.calls], allow_nan=False).encode()
    parsed.text.encode()
    if parsed.fault is not None:
        assert parsed.calls == ()
        assert "\n" not in parsed.fault


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "unit", [*MARKS, "  \t", "</s> ", "[TOOL_CALLS]f[ARGS]{}", "<function_call>{}", "[TOOL_CALLS]["]
)
def test_time_grows_linearly_with_the_text(name, unit):
    def seconds(size):
        text = (unit * (size // len(unit) + 1))[:size]
        best = min(timed(FORMATS[name], text) for _ in range(3))
        return best

    def timed(parse, text):
        began = time.thread_time()
        parse(text)
        return time.thread_time() - began

    assert seconds(SIZE_LIMIT // 2) < 0.5


def test_a_text_too_long_is_refused():
    for parse in FORMATS.values():
        assert parse("x" * (SIZE_LIMIT + 1)).fault.startswith("too long")
