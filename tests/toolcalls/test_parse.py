import json

import pytest

from toolrm_jax.toolcalls.parse import DEPTH_LIMIT, DIGITS_LIMIT, SIZE_LIMIT, parse_hermes, parse_openai, parse_python
from toolrm_jax.toolcalls.types import Call


def block(inner):
    return f"<tool_call>\n{inner}\n</tool_call>"


def call_with(value):
    """A Hermes answer whose only argument is the given JSON text."""
    return block(f'{{"name": "f", "arguments": {{"a": {value}}}}}')


# Hermes


def test_hermes_reads_blocks_and_keeps_the_text_around_them():
    first, second = block('{"name": "f", "arguments": {"a": 1}}'), block('{"name": "g", "arguments": {}}')
    parsed = parse_hermes(f"First.\n{first}\nThen {second} end")
    assert parsed.calls == (Call("f", {"a": 1}), Call("g", {}))
    assert parsed.text == "First.\nThen\nend"
    assert parsed.fault is None


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize("parse", [parse_hermes, parse_python, lambda text: parse_openai({"content": text})])
def test_an_empty_answer_has_no_calls_and_no_text(parse, text):
    parsed = parse(text)
    assert (parsed.calls, parsed.text, parsed.fault) == ((), "", None)


@pytest.mark.parametrize("parse", [parse_hermes, parse_python, lambda text: parse_openai({"content": text})])
def test_an_answer_in_words_is_text_without_a_fault(parse):
    parsed = parse(" I cannot do that (sorry).\n")
    assert (parsed.calls, parsed.text, parsed.fault) == ((), "I cannot do that (sorry).", None)


def test_hermes_a_closing_tag_inside_a_string_does_not_end_the_block():
    assert parse_hermes(call_with('"x</tool_call>\\"<tool_call>"')).calls == (
        Call("f", {"a": 'x</tool_call>"<tool_call>'}),
    )


def test_hermes_arguments_as_a_json_string_are_decoded_once():
    assert parse_hermes(block('{"name": "f", "arguments": "{\\"a\\": \\"1\\"}"}')).calls == (Call("f", {"a": "1"}),)
    assert parse_hermes(block(json.dumps({"name": "f", "arguments": json.dumps(json.dumps({"a": 1}))}))).fault == (
        "block 1: arguments: expected an object, found a text"
    )


@pytest.mark.parametrize("parse", [parse_hermes, parse_python])
def test_a_leading_think_block_is_dropped_if_closed(parse):
    assert parse("\n<think>\n<tool_call> f( </think>\n\nhi").text == "hi"
    assert parse("<think>hm</think>").text == ""
    assert parse("<think>hm").text == "<think>hm"
    assert parse("a <think>hm</think>").text == "a <think>hm</think>"


@pytest.mark.parametrize("parse", [parse_hermes, parse_python, lambda text: parse_openai({"content": text})])
def test_reasoning_that_the_template_opened_is_dropped_where_it_ends(parse):
    assert parse("Let me see: <tool_call>.\n</think>\n\nhi").text == "hi"
    assert parse("So hi.</think>\n\nhi").text == "hi"
    assert parse("\n</think>").text == ""
    assert parse("a tag </think> in words").text == "a tag </think> in words"


def test_the_end_of_reasoning_within_a_calls_argument_is_none():
    told = {"text": "a\n</think>\nb"}
    assert parse_hermes("Saying it.\n" + block(json.dumps({"name": "f", "arguments": told}))).calls == (
        Call("f", told),
    )


GOOD = '{"name": "f", "arguments": {}}'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (block("{"), "block 1: not JSON: a bracket is not closed"),
        (block(GOOD) + block('{"name" "f"}'), "block 2: not JSON: Expecting ':' delimiter at character 8"),
        (block('{"name": "f}'), "block 1: not JSON: a string is not closed"),
        (block(""), "block 1: empty"),
        (block("f(a=1)"), "block 1: not a JSON object but 'f(a=1)\\n'"),
        (block("[]"), "block 1: not a JSON object but '[]\\n'"),
        (block(GOOD + GOOD), "block 1: text after the JSON object"),
        ("<tool_call>" + GOOD, "block 1: </tool_call> is missing"),
        (GOOD + "</tool_call>", "</tool_call> without <tool_call>"),
        (block(GOOD) + "</tool_call>", "</tool_call> without <tool_call>"),
        (block('{"arguments": {}}'), "block 1: no name"),
        (block('{"name": "", "arguments": {}}'), "block 1: the name is not a text with characters"),
        (block('{"name": 1, "arguments": {}}'), "block 1: the name is not a text with characters"),
        (block('{"name": "f"}'), "block 1: no arguments"),
        (block('{"name": "f", "arguments": [1]}'), "block 1: arguments: expected an object, found a list"),
        (block('{"name": "f", "arguments": null}'), "block 1: arguments: expected an object, found null"),
        (block('{"name": "f", "arguments": "x"}'), "block 1: arguments: not JSON: Expecting value at character 0"),
        (call_with("NaN"), "block 1: NaN is not JSON"),
        (call_with("-Infinity"), "block 1: -Infinity is not JSON"),
        (call_with("1e999"), "block 1: the number 1e999 is beyond a float's range"),
        (call_with("9" * 5000), "block 1: an integer of 5000 digits"),
        (call_with('{"k": 1, "k": 2}'), "block 1: the key 'k' is repeated"),
        (call_with('"\\ud800"'), "block 1: a lone surrogate, which UTF-8 cannot hold"),
        (call_with("'x'"), "block 1: not JSON: Expecting value at character 33"),
        (call_with("[" * 10**5), f"block 1: nested deeper than {DEPTH_LIMIT}"),
    ],
)
def test_hermes_faults_name_the_block_and_the_reason(text, fault):
    parsed = parse_hermes(text)
    assert parsed.fault == fault
    assert parsed.calls == ()
    assert parsed.text == text.strip()


def test_hermes_bounds_are_as_stated():
    within = "[" * (DEPTH_LIMIT - 2) + "]" * (DEPTH_LIMIT - 2)  # two more brackets are the call's own
    assert parse_hermes(call_with(within)).fault is None
    assert parse_hermes(call_with(f"[{within}]")).fault == f"block 1: nested deeper than {DEPTH_LIMIT}"
    assert parse_hermes(call_with("9" * DIGITS_LIMIT)).calls[0].arguments == {"a": 10**DIGITS_LIMIT - 1}
    assert parse_hermes("x" * SIZE_LIMIT).fault is None
    assert parse_hermes("x" * (SIZE_LIMIT + 1)).fault.startswith("too long")


def test_hermes_surrogates_that_make_one_character_are_joined():
    assert parse_hermes(call_with('"\\ud83d\\ude00"')).calls == (Call("f", {"a": "😀"}),)


@pytest.mark.parametrize("parse", [parse_hermes, parse_python, lambda text: parse_openai({"content": text})])
def test_a_lone_surrogate_in_the_text_is_a_fault_and_the_text_can_be_encoded(parse):
    parsed = parse("a\ud800b")
    assert parsed.fault == "a lone surrogate, which UTF-8 cannot hold"
    assert parsed.text == "a\ufffdb"


# OpenAI


def openai(arguments, name="f"):
    return {"content": None, "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def test_openai_reads_arguments_from_text_or_mapping():
    assert parse_openai(openai('{"a": [1, "2"]}')).calls == (Call("f", {"a": [1, "2"]}),)
    assert parse_openai(openai({"a": [1, "2"]})).calls == (Call("f", {"a": [1, "2"]}),)
    assert parse_openai({"content": " hi "}).text == "hi"


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (openai('"{}"'), "call 1: arguments: expected an object, found a text"),
        (openai("{"), "call 1: arguments: not JSON: a bracket is not closed"),
        (openai(""), "call 1: arguments: not JSON: Expecting value at character 0"),
        (openai({"a": float("nan")}), "call 1: arguments: NaN is not JSON"),
        (openai({"a": {1, 2}}), "call 1: arguments: not JSON: Object of type set is not JSON serializable"),
        (openai({"a": "\ud800"}), "call 1: arguments: a lone surrogate, which UTF-8 cannot hold"),
        (openai({}, name="\ud800"), "call 1: a lone surrogate, which UTF-8 cannot hold"),
        (openai({}, name=None), "call 1: the name is not a text with characters"),
        (openai(None), "call 1: arguments: expected an object, found null"),
        ({"tool_calls": [{}]}, "call 1: no function"),
        ({"tool_calls": "f"}, "tool_calls is not a list but str"),
        ({"content": []}, "content is not a text but list"),
        (None, "expected a message, found NoneType"),
    ],
)
def test_openai_faults(message, fault):
    assert (parse_openai(message).calls, parse_openai(message).fault) == ((), fault)


# Python


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("+1.5", 1.5),
        ("- 2", -2),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("00", 0),
        ("True", True),
        ("False", False),
        ("None", None),
        ("'a'", "a"),
        ('"it\'s"', "it's"),
        (r"'a\'b\\\n\x41\u00e9\101\N{BULLET}\d'", "a'b\\\nA\xe9A\u2022\\d"),
        (r"r'\n'", "\\n"),
        ("'''a\n'b''c'''", "a\n'b''c"),
        ('"a" "b"', "ab"),
        ("'# no comment, f(x=1)'", "# no comment, f(x=1)"),
        ("[]", []),
        ("[1, [2, (3, 4)], ]", [1, [2, [3, 4]]]),
        ("()", []),
        ("(1)", 1),
        ("(1,)", [1]),
        ("{}", {}),
        ("{'k': {'l': [True]}, \"m\": None}", {"k": {"l": [True]}, "m": None}),
    ],
)
def test_python_values_are_those_python_reads(value, expected):
    parsed = parse_python(f"[f(a={value})]")
    assert parsed.fault is None
    assert repr(parsed.calls) == repr((Call("f", {"a": expected}),))


@pytest.mark.parametrize(
    "text",
    [
        "[f(a=1), g.h(b='x')]",
        "f(a=1), g.h(b='x')",
        "[\n  f(a=1), # one\n  g.h(b='x',),\n]",
        "```python\n[f(a=1), g.h(b='x')]\n```",
        "```\nf(a=1), g.h(b='x')\n```",
        "`[f(a=1), g.h(b='x')]`",
        "<think>f(</think>\n[ f ( a = 1 ) , g.h( b = 'x' ) ]\n",
    ],
)
def test_python_ways_to_write_the_same_calls(text):
    parsed = parse_python(text)
    assert (parsed.calls, parsed.text, parsed.fault) == ((Call("f", {"a": 1}), Call("g.h", {"b": "x"})), "", None)


def test_python_an_empty_list_is_no_call():
    assert (parse_python("[]").calls, parse_python("[]").fault) == ((), None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("f(1)", "an argument of 'f' has no name"),
        ("f(**x)", "an argument of 'f' has no name"),
        ("f(a==1)", "an argument of 'f' has no name"),
        ("f(a=x)", "the bare name 'x' is not a value"),
        ("f(a=x.y)", "the attribute of 'x' is not a value"),
        ("f(a=[g(b=1)])", "a call of 'g' is not a value"),
        ("f(a=x[0])", "an item of 'x' is not a value"),
        ("f(a=1+2)", "an expression with '+' is not a value, at character 5"),
        ("f(a=--1)", "an expression with '-' is not a value, at character 5"),
        ("f(a=1j)", "expected ',' or ')', found 'j' at character 5"),
        ("f(a=007)", "the number 007 begins with 0"),
        ("f(a=1__0)", "'1__0' is not a number"),
        ("f(a=1e999)", "the number 1e999 is beyond a float's range"),
        (f"f(a={'9' * 5000})", "an integer of 5000 digits"),
        (f"f(a=0x{'f' * 5000})", "an integer of 5002 digits"),
        ("f(a=1, a=2)", "argument 'a' of 'f' is repeated"),
        ("f(a={'k': 1, 'k': 2})", "the key 'k' is repeated"),
        ("f(a={1: 2})", "a dictionary's key is not a string"),
        ("f(a={1})", "expected ':' (a set is not a value), found '}' at character 6"),
        ("f(a=b'x')", "a string with the prefix 'b' is not a value"),
        ("f(a=f'x')", "a string with the prefix 'f' is not a value"),
        ("f(a='x)", "a string is not closed, it opens at character 4"),
        ("f(a='x\n')", "a string is not closed, it opens at character 4"),
        (r"f(a='\x4')", r"the escape \x in a string is cut short"),
        (r"f(a='\U00110000')", r"the escape \U00110000 is beyond Unicode"),
        (r"f(a='\N{NO SUCH}')", "no character is named 'NO SUCH'"),
        (r"f(a='\ud800')", "a lone surrogate, which UTF-8 cannot hold"),
        ("f(a=)", "expected a value, found ')' at character 4"),
        ("f(a=1", "not closed"),
        ("[f(a=1)", "not closed"),
        ("[f(a=1)] I hope so", "expected the end, found 'I' at character 9"),
        ("f(a=1)\ng(a=1)", "expected ',', found 'g' at character 7"),
        ("[f]", "'f' is not a call"),
        ('[{"name": "f"}]', "expected a call, found '{' at character 1"),
        ("f(a=" + "[" * 10**5, f"nested deeper than {DEPTH_LIMIT}"),
    ],
)
def test_python_faults(text, fault):
    parsed = parse_python(text)
    assert (parsed.calls, parsed.fault) == ((), fault)
    assert parsed.text == text
