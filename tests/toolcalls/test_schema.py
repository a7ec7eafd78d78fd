import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.schema import Violation, check_tool, violations
from toolrm_jax.toolcalls.types import Call, ErrorType, Tool


def tool(properties=None, **more):
    return Tool("f", "", {"type": "object", "properties": properties or {}, **more})


def kinds(offered, arguments, name="f"):
    return [(fault.kind, fault.parameter) for fault in violations([offered], Call(name, arguments))]


FULL = tool(
    {
        "count": {"type": "integer"},
        "size": {"type": "number", "minimum": 0},
        "unit": {"type": "string", "enum": ["m", "km"]},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "flag": {"type": "boolean"},
        "who": {"$ref": "#/$defs/person"},
    },
    **{"$defs": {"person": {"type": "string"}}},
)


def test_a_valid_call_has_no_violations():
    arguments = {
        "count": 1, "size": 2, "unit": "m", "code": "ABC", "tags": ["x"], "place": {"lat": 1.5}, "note": None,
        "flag": True, "who": "me",
    }  # fmt: skip
    assert violations([FULL], Call("f", arguments)) == []


def test_an_unknown_tool_is_reported_alone_with_the_tools_on_offer():
    assert violations([FULL], Call("g", {"no": 1})) == [Violation(ErrorType.NAME, None, "unknown tool 'g'; offered: f")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"count": "1"}, (ErrorType.TYPE, "count")),
        ({"count": 1.5}, (ErrorType.TYPE, "count")),
        ({"count": True}, (ErrorType.TYPE, "count")),
        ({"size": True}, (ErrorType.TYPE, "size")),
        ({"flag": 1}, (ErrorType.TYPE, "flag")),
        ({"flag": "true"}, (ErrorType.TYPE, "flag")),
        ({"tags": "x"}, (ErrorType.TYPE, "tags")),
        ({"tags": [1]}, (ErrorType.TYPE, "tags")),
        ({"place": {"lat": "1"}}, (ErrorType.TYPE, "place")),
        ({"note": 1}, (ErrorType.TYPE, "note")),
        ({"who": 1}, (ErrorType.TYPE, "who")),
        ({"unit": "cm"}, (ErrorType.VALUE, "unit")),
        ({"size": -1}, (ErrorType.VALUE, "size")),
        ({"code": "abc"}, (ErrorType.VALUE, "code")),
        ({"tags": ["x", "y", "z"]}, (ErrorType.VALUE, "tags")),
        ({"place": {}}, (ErrorType.VALUE, "place")),
        ({"colour": "red"}, (ErrorType.UNEXPECTED, "colour")),
    ],
)
def test_kind_and_parameter_of_one_fault(arguments, expected):
    assert kinds(FULL, arguments) == [expected]


def test_numbers_follow_json_schema():
    assert kinds(FULL, {"count": 1.0}) == []
    assert kinds(FULL, {"size": 1}) == []


def test_order_is_missing_then_unexpected_then_values_in_call_order_type_first():
    offered = tool({"a": {"enum": ["x"], "type": "string"}, "b": {"type": "integer"}, "c": {}}, required=["c", "d"])
    assert kinds(offered, {"b": "1", "z": 0, "a": 2}) == [
        (ErrorType.MISSING_REQUIRED, "c"),
        (ErrorType.MISSING_REQUIRED, "d"),
        (ErrorType.UNEXPECTED, "z"),
        (ErrorType.TYPE, "b"),
        (ErrorType.TYPE, "a"),
        (ErrorType.VALUE, "a"),
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"a": {}}}, [(ErrorType.UNEXPECTED, "z")]),
        ({"properties": {}}, [(ErrorType.UNEXPECTED, "z")]),
        ({"properties": {}, "additionalProperties": False}, [(ErrorType.UNEXPECTED, "z")]),
        ({"additionalProperties": False}, [(ErrorType.UNEXPECTED, "z")]),
        ({"properties": {"a": {}}, "additionalProperties": True}, []),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, []),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, [(ErrorType.TYPE, "z")]),
        ({"properties": {"a": {}}, "patternProperties": {"^z$": {}}}, []),
        ({}, []),
    ],
)
def test_undeclared_parameters(schema, expected):
    assert kinds(Tool("f", "", {"type": "object", **schema}), {"z": 1}) == expected


def test_messages_are_one_short_line():
    (fault,) = violations([FULL], Call("f", {"count": "a\n" * 5000}))
    assert "\n" not in fault.message
    assert len(fault.message) <= 200


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "of type None; give a schema of type 'object'"),
        ({"type": "array"}, "of type 'array'"),
        ({"type": "object", "properties": []}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"type": "float"}}}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.org/s.json"}}}, "not a valid JSON Schema"),
    ],
)
def test_unusable_schemas_are_refused_in_one_line(parameters, reason):
    with pytest.raises(DataError, match="tool 'f'") as caught:
        check_tool(Tool("f", "", parameters))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_good_tools_pass_the_check_and_nameless_ones_do_not():
    check_tool(FULL)
    with pytest.raises(DataError, match="without a name"):
        check_tool(Tool("", "", {"type": "object"}))


@pytest.mark.parametrize("reference", ["https://example.org/s.json", "#/properties/a", "#/$defs/no"])
def test_a_reference_that_cannot_be_followed_is_a_data_error_and_never_the_network(reference):
    offered = tool({"a": {"$ref": reference}})
    with pytest.raises(DataError, match="see check_tool"):
        violations([offered], Call("f", {"a": 1}))


def test_schemas_are_told_apart_by_content():
    assert kinds(tool({"a": {"type": "string"}}), {"a": 1}) == [(ErrorType.TYPE, "a")]
    assert kinds(tool({"a": {"type": "integer"}}), {"a": 1}) == []
