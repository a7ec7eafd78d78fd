"""When values are the same: method.md section 4, item 3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.equality import MAX_DEPTH, canonical, equal, multiset
from toolrm_jax.toolcalls.types import Call

leaves = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5, "a", " A ", "ß", "ss", "1", ""])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner), max_leaves=6
)


def by_the_book(a, b):
    """The definition, spelt out type by type."""
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, str) and isinstance(b, str):
        return a.strip().casefold() == b.strip().casefold()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(by_the_book(x, y) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(by_the_book(a[key], b[key]) for key in a)
    return a is None and b is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (" Paris\n", "pARIS"),
        ("Straße", "STRASSE"),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}),
        (None, None),
        (float("nan"), float("nan")),
        (10**20, 1e20),
    ],
)
def test_equal_values(a, b):
    assert equal(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (True, 1),
        (False, 0),
        (False, 0.0),
        ([True], [1]),
        ("1", 1),
        ("-5", "5"),
        ("", None),
        ([], {}),
        ([], None),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"A": 1}),
        ({"a": None}, {}),
        ([["a", 1]], {"a": 1}),
        ("true", True),
        (10**20 + 1, 1e20),
    ],
)
def test_values_that_differ(a, b):
    assert not equal(a, b)


def test_without_folding_case_and_spaces_count():
    assert not equal("Paris", "paris", fold_case=False)
    assert not equal("paris ", "paris", fold_case=False)
    assert not equal({"city": ["Paris"]}, {"city": ["paris"]}, fold_case=False)
    assert equal(1, 1.0, fold_case=False)


@given(values, values)
def test_equality_is_the_definition_and_canonical_forms_agree_with_it(a, b):
    same = by_the_book(a, b)
    assert equal(a, b) == same
    assert (canonical(a) == canonical(b)) == same
    if same:
        assert hash(canonical(a)) == hash(canonical(b))


@given(values)
def test_a_value_equals_itself_but_not_a_list_of_it(value):
    assert equal(value, value)
    assert not equal(value, [value])


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded():
    assert equal(nested(MAX_DEPTH), nested(MAX_DEPTH))
    with pytest.raises(DataError, match="nested"):
        equal(nested(MAX_DEPTH + 1), 0)
    with pytest.raises(DataError, match="nested"):
        canonical(nested(100_000))


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(DataError, match="set"):
        canonical({1, 2})


def test_calls_in_a_sequence_have_an_order_and_in_a_multiset_none():
    a, b = Call("f", {"x": 1}), Call("f", {"x": 2})
    assert canonical((a, b)) != canonical((b, a))
    assert multiset((a, b)) == multiset((b, a))
    assert multiset((a, a)) != multiset((a,))
    assert canonical(a) != canonical({"name": "f", "arguments": {"x": 1}})
    assert canonical(Call("F", {"x": "A"})) != canonical(Call("f", {"x": "a"}))
    assert canonical(Call("f", {"x": "A"})) == canonical(Call("f", {"x": "a"}))
    assert multiset((Call("f", {"x": "A"}),), fold_case=False) != multiset((Call("f", {"x": "a"}),), fold_case=False)
