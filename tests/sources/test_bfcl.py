import collections
import json
import random

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax import sources
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Call, Candidate, Message, Task, Tool

COUNTS = {
    "simple_python": 400,
    "simple_java": 100,
    "simple_javascript": 50,
    "multiple": 200,
    "parallel": 200,
    "parallel_multiple": 200,
    "live_simple": 258,
    "live_multiple": 1053,
    "live_parallel": 16,
    "live_parallel_multiple": 24,
    "irrelevance": 240,
    "live_irrelevance": 884,
    "live_relevance": 16,
}


@pytest.fixture(scope="module")
def tasks(bfcl_eval) -> dict[str, Task]:
    return {task.id: task for task in bfcl.read()}


def schemas(schema):
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from schemas(inner)
    if "items" in schema:
        yield from schemas(schema["items"])


def test_every_question_of_every_single_turn_category_is_read_once(tasks):
    assert collections.Counter(task.category for task in tasks.values()) == COUNTS


def test_all_schemas_are_json_schema_and_have_no_types_of_bfcls_own(tasks):
    parameters = [tool.parameters for task in tasks.values() for tool in task.context.tools]
    for schema in parameters:
        assert schema["type"] == "object"
        for part in schemas(schema):
            assert part.get("type", "object") in ("object", "array", "string", "integer", "number", "boolean")
            assert "optional" not in part
    for schema in random.Random(0).sample(parameters, 200):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_task_is_what_the_published_line_says(tasks):
    assert tasks["simple_python_0"] == Task.from_json(
        {
            "id": "simple_python_0",
            "source": "bfcl",
            "category": "simple_python",
            "licence": "Apache-2.0",
            "context": {
                "tools": [
                    {
                        "name": "calculate_triangle_area",
                        "description": "Calculate the area of a triangle given its base and height.",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "base": {"type": "integer", "description": "The base of the triangle."},
                                "height": {"type": "integer", "description": "The height of the triangle."},
                                "unit": {
                                    "type": "string",
                                    "description": "The unit of measure (defaults to 'units' if not specified)",
                                },
                            },
                            "required": ["base", "height"],
                        },
                    }
                ],
                "messages": [
                    {
                        "role": "user",
                        "content": "Find the area of a triangle with a base of 10 units and height of 5 units.",
                    }
                ],
            },
            "reference": {
                "calls": [{"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5, "unit": "units"}}],
                "accepted": [{"base": [10], "height": [5], "unit": ["units", ""]}],
            },
        }
    )


def test_categories_without_answers_have_the_reference_they_should(tasks):
    for task in tasks.values():
        if task.category in ("irrelevance", "live_irrelevance"):
            assert task.reference.calls == ()
        elif task.category == "live_relevance":
            assert task.reference is None
    # Here BFCL demands a parameter that the function does not have, so no call can be right.
    unanswerable = {task.id for task in tasks.values() if task.reference is None and task.category != "live_relevance"}
    assert unanswerable == {"live_multiple_862-181-3", "live_multiple_964-207-0"}


def test_every_reference_call_takes_its_values_from_the_accepted_ones_and_gives_what_is_required(tasks):
    for task in tasks.values():
        if task.reference is None:
            continue
        for call, accepted in zip(task.reference.calls, task.reference.accepted):
            tool = task.context.tool(call.name)
            assert set(tool.required) <= set(call.arguments) <= set(accepted) <= set(tool.properties), task.id
            for name, value in call.arguments.items():
                assert value == accepted[name][0]
            for name in set(accepted) - set(call.arguments):
                assert "" in accepted[name]


def test_nested_answers_become_plain_values(tasks):
    (accepted,) = tasks["live_multiple_0-0-0"].reference.accepted
    assert len(accepted["new_preferences"]) == 4
    assert accepted["new_preferences"][0] == {
        "size": "large",
        "milk_type": "coconut",
        "sweetness_level": "extra",
        "temperature": "hot",
        "special_instructions": "served boiling hot",
    }
    (call,) = tasks["live_simple_165-98-0"].reference.calls
    assert call.arguments["data"] == [{"name": "李雷", "age": 18}, {"name": "李丽", "age": 21}]
    (call,) = tasks["live_multiple_121-46-0"].reference.calls
    assert call.arguments["ego_info"] == {"position": {"lateral": 10.5, "longitudinal": 50}, "orientation": 30}


def test_only_one_question_has_more_alternatives_than_are_kept(tasks, monkeypatch):
    monkeypatch.setattr(bfcl, "MAX_ALTERNATIVES", 10_000)
    beyond = {
        task.id: len(values)
        for task in bfcl.read(categories=bfcl.ANSWERED)
        if task.reference is not None
        for accepted in task.reference.accepted
        for values in accepted.values()
        if len(values) > 64
    }
    assert beyond == {"live_simple_44-18-0": 128}
    (accepted,) = tasks["live_simple_44-18-0"].reference.accepted
    assert len(accepted["body"]) == 64


def test_live_questions_keep_their_system_message_and_dotted_names(tasks):
    roles = collections.Counter(
        tuple(message.role for message in task.context.messages)
        for task in tasks.values()
        if task.category in ("live_simple", "live_multiple", "live_parallel")
    )
    assert roles[("system", "user")] == 11 + 37 + 1
    assert "ChaDri.change_drink" in {tool.name for tool in tasks["live_multiple_0-0-0"].context.tools}


def test_bfcls_types_become_json_schemas_with_the_key_order_kept():
    doc = {
        "type": "dict",
        "required": ["a"],
        "properties": {
            "b": {"type": "tuple", "items": {"type": "float"}, "description": "point"},
            "a": {"type": "any", "description": "thing", "optional": True},
            "c": {"type": "HashMap", "properties": {"d": {"type": "Bigint"}, "e": {"type": "char"}}},
            "f": {"type": "array", "items": {"type": "string"}, "enum": ["x", "y"]},
        },
    }
    schema = bfcl.json_schema(doc)
    assert json.dumps(schema) == json.dumps(
        {
            "type": "object",
            "required": ["a"],
            "properties": {
                "b": {"type": "array", "items": {"type": "number"}, "description": "point"},
                "a": {"description": "thing"},
                "c": {"type": "object", "properties": {"d": {"type": "integer"}, "e": {"type": "string"}}},
                "f": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
            },
        }
    )
    assert doc["properties"]["f"]["enum"] == ["x", "y"]
    with pytest.raises(DataError, match="quaternion"):
        bfcl.json_schema({"type": "quaternion"})


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ([1, 2, 1], [1, 2]),
        ([1, 1.0, True], [1, 1.0, True]),
        (["", "x"], ["", "x"]),
        ([], [[]]),
        ([{}], [{}]),
        ([[]], [[]]),
        ([{"a": [1, 2], "b": [3, ""]}], [{"a": 1, "b": 3}, {"a": 1}, {"a": 2, "b": 3}, {"a": 2}]),
        ([[{"a": [1]}, {"a": [2, 3]}]], [[{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}]]),
        ([{"a": [["x", "y"]], "b": "bare"}], [{"a": ["x", "y"], "b": "bare"}]),
        ([{"a": [{"b": 1.5}]}, ""], [{"a": {"b": 1.5}}, ""]),
    ],
)
def test_plain_values(options, plain):
    assert json.dumps(bfcl.plain_values(options)) == json.dumps(plain)


@given(st.integers(1, 30), st.integers(1, 5))
def test_plain_values_are_bounded_and_start_with_the_first_of_each(keys, choices):
    values = bfcl.plain_values([{str(key): list(range(choices)) for key in range(keys)}])
    assert len(values) == min(choices**keys, bfcl.MAX_ALTERNATIVES)
    assert values[0] == {str(key): 0 for key in range(keys)}


def test_parameters_that_may_be_left_out_are_left_out_only_where_the_tool_allows_it():
    tool = Tool("f", "", {"type": "object", "properties": {name: {} for name in "abcd"}, "required": ["a", "b"]})
    reference = bfcl.reference([tool], [{"f": {"a": ["", 1], "b": [""], "c": ["", 2], "d": [3, ""], "e": ["", 4]}}])
    assert reference.calls == (Call("f", {"a": 1, "b": "", "d": 3}),)
    assert reference.accepted == ({"a": [1], "b": [""], "c": ["", 2], "d": [3, ""]},)
    assert bfcl.reference([tool], [{"f": {"a": [1], "e": [4]}}]) is None


def write_folder(folder, question, answers=None):
    (folder / "possible_answer").mkdir()
    (folder / "BFCL_v4_simple_python.json").write_text(json.dumps(question))
    (folder / "possible_answer/BFCL_v4_simple_python.json").write_text(
        json.dumps({"id": question.get("id"), "ground_truth": answers})
    )


QUESTION = {
    "id": "simple_python_7",
    "question": [[{"role": "system", "content": "Be brief.\u2028"}, {"role": "user", "content": "Hi"}], []],
    "function": [{"name": "f", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}],
}


def test_a_folder_of_files_is_read_in_place_of_the_package(tmp_path):
    write_folder(tmp_path, QUESTION, [{"f": {}}])
    (task,) = bfcl.read(tmp_path, categories=["simple_python"])
    assert task.context.messages == (Message("system", "Be brief.\u2028"), Message("user", "Hi"))
    assert task.reference.calls == (Call("f", {}),)


@pytest.mark.parametrize(
    ("change", "answers", "says"),
    [
        ({"question": []}, [{"f": {}}], "simple_python_7"),
        ({"question": [[{"role": "wizard", "content": ""}]]}, [{"f": {}}], "wizard"),
        ({"function": [{"name": "f"}]}, [{"f": {}}], "description"),
        ({}, [{"g": {}}], "'g'"),
        ({}, [3], "simple_python_7"),
        ({}, None, "no possible answers"),
    ],
)
def test_a_malformed_question_is_named_in_one_line(tmp_path, change, answers, says):
    write_folder(tmp_path, {**QUESTION, **change}, answers)
    with pytest.raises(DataError, match=says) as caught:
        list(bfcl.read(tmp_path, categories=["simple_python"]))
    assert "\n" not in str(caught.value)


def test_absent_data_say_how_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no BFCL_v4"):
        list(bfcl.read(tmp_path))
    monkeypatch.setattr(bfcl.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install --no-deps bfcl-eval"):
        list(bfcl.read())


def test_truncated_json_is_an_error_with_its_line(tmp_path):
    (tmp_path / "BFCL_v4_irrelevance.json").write_text('\n{"id": "irrelevance_0", ')
    with pytest.raises(DataError, match=r"irrelevance\.json:2"):
        list(bfcl.read(tmp_path, categories=["irrelevance"]))


def test_the_registry_reads_by_name_and_names_the_nearest_for_an_unknown_one(tmp_path):
    write_folder(tmp_path, QUESTION, [{"f": {}}])
    for category in set(COUNTS) - {"simple_python"}:
        (tmp_path / f"BFCL_v4_{category}.json").write_text("")
        (tmp_path / f"possible_answer/BFCL_v4_{category}.json").write_text("")
    assert [task.id for task in sources.read("bfcl", tmp_path)] == ["simple_python_7"]
    with pytest.raises(ConfigError, match="did you mean 'bfcl'"):
        sources.read("bcfl")
    with pytest.raises(ConfigError, match="unknown category 'simpel'"):
        next(bfcl.read(tmp_path, categories=["simpel"]))


def test_every_reference_is_right_by_the_strict_comparison(tasks):
    for task in tasks.values():
        if task.reference is not None:
            assert judge(task, Candidate(task.reference.calls)).right, task.id


def test_references_keep_to_their_schemas_but_for_35_questions_that_contradict_themselves(tasks):
    # Variables in place of lists and objects (Java, JavaScript), values outside an enum, null, True for "True".
    contradictory = {
        task.id
        for task in tasks.values()
        if task.reference is not None
        for call in task.reference.calls
        if violations(task.context.tools, call)
    }
    by_category = collections.Counter(tasks[name].category for name in contradictory)
    assert by_category == {
        "live_multiple": 14,
        "live_parallel_multiple": 1,
        "parallel_multiple": 2,
        "simple_java": 10,
        "simple_javascript": 8,
    }
