"""The tools' self-check: every published form becomes one, and what is beyond repair is refused with a reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.sources.drops import BAD_CALL, BAD_TOOL, SAME_NAME, Unfit
from toolrm_jax.sources.literals import fitted, loads, read_calls
from toolrm_jax.sources.python_calls import python_call, python_parameters
from toolrm_jax.sources.tools import read_tool, read_tools
from toolrm_jax.sources.type_names import is_optional, schema_of
from toolrm_jax.toolcalls.schema import check_tool
from toolrm_jax.toolcalls.types import Call, Tool

WANTED = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}},
    "required": ["city"],
}


@pytest.mark.parametrize(
    "published",
    [
        {"name": "f", "description": "d", "parameters": WANTED},
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": WANTED}},
        {"name": "f", "description": "d", "parameters": json.dumps(WANTED)},
        {"api_name": "f", "api_description": "d", "arguments": {**WANTED, "type": "dict"}},
        {
            "name": "f",
            "description": "d",
            "parameters": {"city": {"type": "str", "description": "Where."}, "days": {"type": "int"}},
            "required": ["city", "nowhere"],
        },
        {
            "name": "f",
            "description": "d",
            "parameters": {
                "city": {"type": "string", "description": "Where.", "required": True},
                "days": {"type": "integer", "required": False},
            },
        },
        {
            "name": "f",
            "description": "d",
            "parameters": {"city": {"type": "str", "description": "Where."}, "days": {"type": "int, optional"}},
        },
        {
            "name": "f",
            "description": "d",
            "input_schema": {**WANTED, "properties": {**WANTED["properties"], "days": {"type": "int", "minimum": "1"}}},
        },
        {
            "name": "f",
            "description": "d",
            "parameters": [
                {"name": "city", "type": "string", "description": "Where.", "required": True},
                {"name": "days", "type": "integer"},
            ],
        },
    ],
)
def test_every_form_is_repaired_to_the_one(published):
    assert read_tool(published) == Tool("f", "d", WANTED)
    assert read_tools(json.dumps([published, published])) == (Tool("f", "d", WANTED),)


@pytest.mark.parametrize("parameters", [None, {}, "", {"type": "object"}, {"type": "dict", "properties": {}}])
def test_no_parameters_in_any_form(parameters):
    found = read_tool({"name": "f", "description": None, "parameters": parameters})
    assert found == Tool("f", "", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    "published",
    [{}, {"name": ""}, {"name": "f", "parameters": 3}, {"name": "f", "parameters": {"a": 5}}, 7, "not JSON", None],
)
def test_a_tool_beyond_repair_has_its_reason(published):
    with pytest.raises(Unfit) as fault:
        read_tool(published)
    assert fault.value.reason == BAD_TOOL


def test_equal_tools_are_one_and_two_unlike_ones_of_a_name_are_refused():
    one = {"name": "f", "description": "d", "parameters": {}}
    assert len(read_tools([one, dict(one)])) == 1
    with pytest.raises(Unfit) as fault:
        read_tools([one, {**one, "description": "e"}])
    assert fault.value.reason == SAME_NAME


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["str", "int", "List[int]", "object", "array", "Foo", "", 3, None]),
            "enum": st.lists(st.integers() | st.text(max_size=2), max_size=3) | st.none() | st.text(max_size=2),
            "minimum": st.integers() | st.text(max_size=1) | st.booleans(),
            "maxLength": st.integers() | st.none(),
            "pattern": st.sampled_from(["^a$", "[", "(?<=x)y", 5]),
            "description": st.text(max_size=3) | st.none() | st.integers(),
            "required": st.booleans() | st.lists(st.text(max_size=2), max_size=2) | st.none(),
            "examples": st.text(max_size=2) | st.lists(st.integers(), max_size=2),
        },
    ),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=3), inner, max_size=3)}
        )
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner | st.lists(inner, max_size=2)})
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=3), SCHEMAS, max_size=3))
def test_whatever_comes_is_a_usable_schema_or_refused(parameters):
    try:
        found = read_tool({"name": "f", "parameters": parameters})
    except Unfit:
        return
    check_tool(found)
    assert read_tool({"name": "f", "description": "", "parameters": found.parameters}).parameters == found.parameters


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("Optional[float]", {"type": "number"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[Union[int, float]]", {"type": "array", "items": {"type": ["integer", "number"]}}),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}}),
        ("Dict[str, Any]", {"type": "object"}),
        ("list[dict[str, int]]", {"type": "array", "items": {"type": "object"}}),
        ("Union[str, List[str]]", {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        ("int | None", {"type": ["integer", "null"]}),
        ("np.ndarray", {"type": "array"}),
        ("Callable[[float], float]", {}),
        ("MyClass", {}),
        ("", {}),
        ("[" * 50, {}),
    ],
)
def test_type_names(name, schema):
    assert schema_of(name) == schema


def test_a_schema_by_name_is_not_shared():
    schema_of("List[int]")["items"]["type"] = "spoilt"
    assert schema_of("List[int]") == {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(("name", "optional"), [("str, optional", True), ("Optional[int]", True), ("int", False)])
def test_optional_types(name, optional):
    assert is_optional(name) == optional


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_json_and_python_literals_are_read_as_what_they_stand_for(value):
    assert loads(json.dumps(value)) == value
    assert loads(repr(value)) == value


@pytest.mark.parametrize("text", ["__import__('os')", "open('x').read()", "a", "1 + 1", "[x for x in y]", "", "f'x'"])
def test_what_is_no_literal_is_refused_and_never_run(text):
    with pytest.raises(ValueError, match="neither JSON"):
        loads(text)


@pytest.mark.parametrize(
    "published",
    [
        '[{"name": "f", "arguments": {"a": "it\'s"}}]',
        [{"name": "f", "arguments": '{"a": "it\'s"}'}],
        "{'name': 'f', 'arguments': {'a': \"it's\"}}",
        '{"name": "f", "arguments": \'{"a": "it\'s"}\'}',
        [{"type": "function", "function": {"name": "f", "arguments": {"a": "it's"}}}],
        [{"tool": "f", "parameters": {"a": "it's"}}],
        [{"api": "f", "parameters": {"a": "it's"}, "responses": ["API_call_0"]}],
    ],
)
def test_calls_in_every_published_form(published):
    assert read_calls(published) == (Call("f", {"a": "it's"}),)


@pytest.mark.parametrize("published", ["[{]", [{}], [5], 7, [{"name": "f", "arguments": "{"}], [{"name": 3}]])
def test_what_is_no_call_is_refused(published):
    with pytest.raises(Unfit) as fault:
        read_calls(published)
    assert fault.value.reason == BAD_CALL


def test_text_of_what_the_schema_wants_is_read_as_that_and_other_text_stays():
    tool = read_tool({"name": "f", "parameters": {"n": "int", "x": "float", "ids": "list", "s": "str", "b": "bool"}})
    call = Call("f", {"n": "63", "x": "1.5", "ids": "['a']", "s": "7", "b": "true", "m": "1"})
    assert fitted(call, tool) == Call("f", {"n": 63, "x": 1.5, "ids": ["a"], "s": "7", "b": True, "m": "1"})
    odd = Call("f", {"n": "per month", "x": "True", "ids": "a, b"})
    assert fitted(odd, tool) == odd


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("r = lib.find(a = 'x', b=2)", Call("lib.find", {"a": "x", "b": 2})),
        ("find('x', 2)", Call("find", {"a": "x", "b": 2})),
        ("find()", Call("find", {})),
    ],
)
def test_a_line_of_python_as_a_call(line, call):
    tool = read_tool({"name": "find", "parameters": {"a": "str", "b": "int"}})
    assert python_call(line, (tool,)) == call


@pytest.mark.parametrize("line", ["find('x', 2, 3)", "find(x)", "other('x')", "x = 3", "find('x', b=2)", "a(); b()"])
def test_a_line_that_is_no_call_is_refused(line):
    tool = read_tool({"name": "find", "parameters": {"a": "str", "b": "int"}})
    with pytest.raises(Unfit):
        python_call(line, (tool,))


def test_a_signature_as_parameters():
    assert python_parameters("self, a: str, b: List[int]=[1, 2], c='x, y', *, d: int = f()") == {
        "self": {"required": True},
        "a": {"required": True, "type": "str"},
        "b": {"required": False, "type": "List[int]", "default": [1, 2]},
        "c": {"required": False, "default": "x, y"},
        "d": {"required": False, "type": "int"},
    }
