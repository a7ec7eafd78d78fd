"""The eight kinds of error, checked in the order of BFCL's checker."""

import json

import pytest

from toolrm_jax.toolcalls.taxonomy import classify
from toolrm_jax.toolcalls.types import Call, ErrorType, Reference, Tool

TOOL = Tool(
    "book",
    "",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer"},
            "price": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "unused": {"type": "string"},
        },
        "required": ["city", "nights"],
    },
)
RIGHT = {"city": "Rome", "nights": 2, "price": 9.5, "tags": ["a"]}
REFERENCE = Reference((Call("book", RIGHT),))


def kind(reference, *calls):
    return classify((TOOL,), reference, calls)[0]


def book(**changes):
    return Call("book", {key: value for key, value in {**RIGHT, **changes}.items() if value is not ...})


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], ErrorType.NUMBER),
        ([book(), book()], ErrorType.NUMBER),
        ([Call("reserve", RIGHT)], ErrorType.NAME),
        ([book(city=...)], ErrorType.MISSING_REQUIRED),
        ([book(stars=3)], ErrorType.UNEXPECTED),
        ([book(unused="b")], ErrorType.UNEXPECTED),
        ([book(nights="2")], ErrorType.TYPE),
        ([book(nights=2.5)], ErrorType.TYPE),
        ([book(nights=True)], ErrorType.TYPE),
        ([book(tags="a")], ErrorType.TYPE),
        ([book(tags=[1])], ErrorType.TYPE),
        ([book(price=9)], ErrorType.VALUE),
        ([book(nights=3)], ErrorType.VALUE),
        ([book(tags=["a", "b"])], ErrorType.VALUE),
        ([book(price=...)], ErrorType.MISSING_OPTIONAL),
        # the first failing check names the error
        ([Call("reserve", {})], ErrorType.NAME),
        ([book(city=..., nights="2")], ErrorType.MISSING_REQUIRED),
        ([book(city="Bonn", price=...)], ErrorType.VALUE),
        ([Call("book", {"nights": "2", "city": "Bonn", "stars": 3})], ErrorType.TYPE),
        ([Call("book", {"stars": 3, "city": "Bonn", "nights": "2"})], ErrorType.UNEXPECTED),
    ],
)
def test_error_type_of_one_call(calls, expected):
    assert kind(REFERENCE, *calls) is expected


def test_a_type_that_is_accepted_is_no_type_error():
    """BFCL lets a string stand for a variable of any type where its answers are strings."""
    reference = Reference((Call("book", RIGHT),), accepted=({**{k: [v] for k, v in RIGHT.items()}, "nights": ["n"]},))
    assert kind(reference, book(nights="m")) is ErrorType.VALUE
    assert kind(reference, book(nights=None)) is ErrorType.TYPE


def test_calls_where_none_is_right_are_too_many():
    assert kind(Reference(), book()) is ErrorType.NUMBER


def test_of_several_calls_the_nearest_to_the_unanswered_one_decides():
    two = Reference((book(), book(city="Bonn")))
    assert kind(two, book(city="Bonn"), book(nights=9)) is ErrorType.VALUE
    assert kind(two, book(price=...), book(nights=9)) is ErrorType.VALUE
    assert kind(two, book(), Call("reserve", {})) is ErrorType.NAME
    assert kind(two, Call("reserve", {}), book(nights="2")) is ErrorType.TYPE


def test_an_ordered_reference_compares_by_place():
    ordered = Reference((book(), Call("pay", {})), ordered=True)
    assert kind(ordered, Call("pay", {}), book()) is ErrorType.NAME


def test_the_reason_says_where_in_one_short_line():
    _, reason = classify((TOOL,), REFERENCE, [book(city="long\nname " * 1000)])
    assert reason.startswith('book: "city" is "long')
    assert "\n" not in reason
    assert len(reason) < 200


BFCL_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


def json_schema(doc):
    if not isinstance(doc, dict):
        return doc
    out = {key: json_schema(value) for key, value in doc.items() if not (key == "type" and value == "any")}
    if isinstance(out.get("type"), str):
        out["type"] = BFCL_TYPES.get(out["type"], out["type"])
    return out


def test_agrees_with_bfcls_checker_on_real_wrong_answers(data_folder):
    """Live questions with flat values, whose wrong answers parse: at least 95 of 100 have BFCL's type."""
    agree = total = 0
    for line in (data_folder("bfcl_outputs") / "single_turn_pool.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if not row["category"].startswith("live"):
            continue
        tools = [Tool(f["name"], f["description"], json_schema(f["parameters"])) for f in row["functions"]]
        accepted = [answer for item in row["possible_answers"] for answer in item.values()]
        if any(isinstance(value, dict) for some in accepted for values in some.values() for value in values):
            continue
        names = [name for item in row["possible_answers"] for name in item]
        reference = Reference(tuple(Call(name, {}) for name in names), accepted=tuple(accepted))
        for wrong in row["wrong"]:
            if wrong["call"] is None or wrong["error_type"] == ErrorType.FORMAT:
                continue
            calls = [Call(name, arguments) for item in wrong["call"] for name, arguments in item.items()]
            agree += classify(tools, reference, calls)[0] == wrong["error_type"]
            total += 1
    assert total > 1000
    assert agree / total >= 0.95
