"""The input of `toolrm score`: the forms that are taken, and one line for each that is not."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.commands.score_lines import read_line, read_lines
from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Call, Candidate, Message, Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
CALL = {"name": "weather", "arguments": {"city": "Ulm"}}
USER = {"role": "user", "content": "Weather in Ulm?"}


def line(**changes):
    row = {"tools": [BARE], "messages": [USER], "candidates": [{"tool_calls": [CALL]}], **changes}
    return json.dumps({name: value for name, value in row.items() if value is not ...})


def test_bare_and_wrapped_tools_are_the_same():
    for tool in (BARE, {"type": "function", "function": BARE}):
        read = read_line(line(tools=[tool]), "f:1")
        assert read.context.tools == (Tool("weather", "Tells it.", SCHEMA),)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ({"tool_calls": [CALL]}, Candidate((Call("weather", {"city": "Ulm"}),))),
        ({"tool_calls": [{"type": "function", "id": "1", "function": CALL}]}, Candidate((Call(**CALL),))),
        ({"tool_calls": [{"name": "weather", "arguments": '{"city": "Ulm"}'}]}, Candidate((Call(**CALL),))),
        ({"content": "Sunny."}, Candidate(text="Sunny.")),
        ({"content": ""}, Candidate()),
        ({"tool_calls": []}, Candidate()),
        ({"content": None, "tool_calls": [CALL, CALL]}, Candidate((Call(**CALL), Call(**CALL)))),
        (
            {"content": "Let me see.", "tool_calls": [CALL], "role": "assistant"},
            Candidate((Call(**CALL),), "Let me see."),
        ),
    ],
)
def test_the_forms_of_a_candidate(candidate, expected):
    assert read_line(line(candidates=[candidate]), "f:1").candidates == (expected,)


def test_messages_in_openais_form_keep_calls_and_the_tool_that_answers():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]
    assert read_line(line(messages=messages), "f:1").context.messages == (
        Message("system", "Be brief."),
        Message("user", "Weather in Ulm?"),
        Message("assistant", "", (Call("weather", {"city": "Ulm"}),)),
        Message("tool", "7", (), "weather"),
    )


def test_other_keys_are_left_alone_and_no_candidates_are_no_fault():
    assert read_line(line(id=7, candidates=[]), "f:1").candidates == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("", "not JSON (it is empty)"),
        ("[" * 100_000, "not JSON"),
        ("[]", "found a list"),
        (line(tools=...), "'tools' is missing"),
        (line(messages={}), "'messages' is an object; give a list"),
        (line(messages=[]), "'messages' is empty"),
        (line(messages=[{"role": "robot", "content": ""}]), "message 1: Message: role 'robot'"),
        (line(messages=["hi"]), "message 1 is a text"),
        (line(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "its content is no text"),
        (line(tools=[{"name": "weather"}]), "tool 'weather' has no schema"),
        (line(tools=[{"name": "weather", "parameters": {}}]), "give a schema of type 'object'"),
        (line(tools=[{"name": "weather", "parameters": []}]), "its parameters are a list"),
        (line(tools=[{"parameters": SCHEMA}]), "tool 1 has no name"),
        (line(tools=[3]), "tool 1 is a number"),
        (line(candidates=[{"tool_calls": [CALL]}, {}]), "candidate 2 has neither tool_calls nor content"),
        (line(candidates=["Sunny."]), "candidate 1 is a text"),
        (line(candidates=[{"tool_calls": CALL}]), "candidate 1: tool_calls is an object"),
        (line(candidates=[{"tool_calls": ["weather"]}]), "candidate 1: call 1 is a text"),
        (line(candidates=[{"tool_calls": [{"name": "weather"}]}]), "candidate 1: call 1: no arguments"),
        (
            line(candidates=[{"tool_calls": [{"name": "w", "arguments": "{"}]}]),
            "candidate 1: call 1: arguments: not JSON",
        ),
        (line(candidates=[{"content": 7}]), "candidate 1: its content is no text"),
    ],
)
def test_a_bad_line_is_told_in_one_line_with_its_place(text, says):
    with pytest.raises(DataError) as caught:
        read_line(text, "in.jsonl:3")
    assert str(caught.value).startswith("in.jsonl:3: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_place_is_the_files_own_line(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(line() + "\n" + "oops\n")
    with pytest.raises(DataError, match=r"in\.jsonl:2: not JSON"):
        list(read_lines(file))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lines(tmp_path / "absent"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "tool_calls", "function", "name", "arguments", "parameters", "id"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(tools=JSON, messages=JSON, candidates=JSON)
def test_any_json_is_read_or_refused(tools, messages, candidates):
    row = {"tools": [tools], "messages": [messages], "candidates": [candidates]}
    with contextlib.suppress(DataError):
        read_line(json.dumps(row), "f:1")
