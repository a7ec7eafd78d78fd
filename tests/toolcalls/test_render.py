import json
import sys

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.render import openai_message, openai_tool, render_hermes, render_python
from toolrm_jax.toolcalls.types import Call, Message, Tool

CALLS = (
    Call("f", {"a": 1, "b": [True, None, -1.5], "c": {"d": "é </tool_call> <b> & 'x' \"y\" \\ \n 😀"}}),
    Call("g.h", {}),
)


def test_one_call():
    assert render_hermes([Call("f", {"a": 1})]) == '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def test_text_stands_first_and_blocks_are_joined_by_newlines():
    assert render_hermes([Call("f", {}), Call("g", {})], "Hi.") == (
        'Hi.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
        '\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )


def test_an_answer_without_calls_is_its_text():
    assert render_hermes([], "Hi.") == "Hi."
    assert render_hermes([]) == ""


def test_letters_beyond_ascii_are_not_escaped():
    assert '"é😀"' in render_hermes([Call("f", {"a": "é😀"})])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
@pytest.mark.parametrize("render", [render_hermes, render_python])
def test_values_that_are_not_json_are_refused(render, value):
    with pytest.raises(DataError, match=r"'f'.*not JSON"):
        render([Call("f", {"a": [value]})])


def test_endless_nesting_is_refused():
    value = []
    for _ in range(sys.getrecursionlimit() * 100):
        value = [value]
    with pytest.raises(DataError, match="not JSON"):
        render_hermes([Call("f", {"a": value})])


def test_python_notation():
    calls = [Call("f", {"a": 1, "b": "x"}), Call("g.h", {"c": [True, None, {"d": -0.5}]})]
    assert render_python(calls) == "[f(a=1, b='x'), g.h(c=[True, None, {'d': -0.5}])]"
    assert render_python([]) == "[]"


def test_a_tool_as_chat_templates_take_it():
    schema = {"type": "object", "properties": {}}
    assert openai_tool(Tool("f", "does", schema)) == {
        "type": "function",
        "function": {"name": "f", "description": "does", "parameters": schema},
    }


def test_messages_as_chat_templates_take_them():
    assert openai_message(Message("user", "hi")) == {"role": "user", "content": "hi"}
    assert openai_message(Message("tool", "4", name="f")) == {"role": "tool", "content": "4", "name": "f"}
    assert openai_message(Message("assistant", calls=(Call("f", {"a": 1}),))) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    }


@pytest.fixture(scope="module")
def qwen3(model_file):
    return json.loads((model_file("qwen3-tokenizer") / "tokenizer_config.json").read_text())["chat_template"]


@pytest.fixture(scope="module")
def qwen25(model_file):
    """The template in a GGUF file's metadata, cut from its first bytes: reading all its fields takes long."""
    file = model_file("qwen2.5-coder-0.5b.gguf")
    key = b"tokenizer.chat_template"
    with file.open("rb") as opened:
        head = opened.read(1 << 24)
    place = head.index(key) + len(key) + 4  # the value's type stands between
    length = int.from_bytes(head[place : place + 8], "little")
    return head[place + 8 : place + 8 + length].decode()


@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
@pytest.mark.parametrize("text", ["", "I look it up."])
@pytest.mark.parametrize("calls", [CALLS, CALLS[:1], ()])
def test_byte_for_byte_what_qwens_templates_render(request, family, text, calls):
    template = request.getfixturevalue(family)
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    # A user's turn at the end: Qwen3 puts an empty think block into the last assistant turn only.
    messages = [Message("user", "q"), Message("assistant", text, calls), Message("user", "r")]
    rendered, _ = utils.render_jinja_template([[openai_message(m) for m in messages]], chat_template=template)
    start, end = "<|im_start|>assistant\n", "<|im_end|>"
    assert rendered[0].partition(start)[2].partition(end)[0] == render_hermes(calls, text)
