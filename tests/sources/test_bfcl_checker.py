import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_checker import BfclVerdict, check, error_type
from toolrm_jax.toolcalls.types import Call, ErrorType

pytestmark = pytest.mark.usefixtures("bfcl_eval")


def calls_of(published):
    return tuple(Call(name, arguments) for call in published for name, arguments in call.items())


def test_the_pools_verdicts_are_reproduced_for_every_decodable_answer(bfcl_outputs):
    different, graded = [], 0
    for line in (bfcl_outputs / "single_turn_pool.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        for answer in (*row["right"], *row["wrong"]):
            if answer["call"] is None:
                continue
            graded += 1
            verdict = check(row["category"], row["id"], calls_of(answer["call"]))
            right = "error_type" not in answer
            expected = (right, answer.get("bfcl_error_type"), answer.get("error_type"))
            if (verdict.right, verdict.bfcl_error_type, verdict.error_type) != expected:
                different.append((row["id"], answer, verdict))
    assert graded == 9336
    assert different == []


TRIANGLE = "calculate_triangle_area"


@pytest.mark.parametrize(
    ("calls", "label", "kind"),
    [
        ([{TRIANGLE: {"base": 10, "height": 5}}], None, None),
        ([{TRIANGLE: {"base": 10, "height": 5, "unit": "UNITS."}}], None, None),
        ([], "simple_function_checker:wrong_count", ErrorType.NUMBER),
        ([{"area": {"base": 10, "height": 5}}], "simple_function_checker:wrong_func_name", ErrorType.NAME),
        ([{TRIANGLE: {"base": 10}}], "simple_function_checker:missing_required", ErrorType.MISSING_REQUIRED),
        ([{TRIANGLE: {"base": "10", "height": 5}}], "type_error:simple", ErrorType.TYPE),
        ([{TRIANGLE: {"base": 11, "height": 5}}], "value_error:others", ErrorType.VALUE),
        ([{TRIANGLE: {"base": 10, "height": 5, "unit": "cm"}}], "value_error:string", ErrorType.VALUE),
        (
            [{TRIANGLE: {"base": 10, "height": 5, "angle": 1}}],
            "simple_function_checker:unexpected_param",
            ErrorType.UNEXPECTED,
        ),
    ],
)
def test_each_kind_of_error(calls, label, kind):
    verdict = check("simple_python", "simple_python_0", calls_of(calls))
    assert (verdict.right, verdict.bfcl_error_type, verdict.error_type) == (label is None, label, kind)
    assert (verdict.message == "") == verdict.right


def test_a_parameter_that_bfcl_demands_though_it_is_optional():
    call = Call("solve_quadratic", {"a": 3, "b": -11, "c": -4})
    verdict = check("simple_python", "simple_python_5", (call,))
    assert verdict.error_type is ErrorType.MISSING_OPTIONAL


FUNCTION = {
    "name": "math.add",
    "description": "",
    "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


def test_parallel_calls_in_any_order_and_the_nearest_sub_error():
    question = ([FUNCTION], [{"math.add": {"a": [1]}}, {"math.add": {"a": [2]}}])
    assert check("parallel", question, (Call("math.add", {"a": 2}), Call("math.add", {"a": 1}))).right
    verdict = check("parallel", question, (Call("math.add", {"a": 3}), Call("add", {"a": 1})))
    assert verdict == BfclVerdict(
        False,
        "parallel_function_checker_no_order:cannot_find_match>value_error:others",
        "Invalid value for parameter 'a': 3. Expected one of [1].",
        ErrorType.VALUE,
    )


def test_dotted_names_stay_dotted():
    question = ([FUNCTION], [{"math.add": {"a": [1]}}])
    assert check("multiple", question, (Call("math.add", {"a": 1}),)).right
    assert check("multiple", question, (Call("math_add", {"a": 1}),)).error_type is ErrorType.NAME


def test_typed_java_and_javascript_values_are_put_as_source_text():
    # Three questions cannot be met: lists of mixed types, and a possible answer that is not a list.
    wrong = {
        task.id
        for task in bfcl.read(categories=("simple_java", "simple_javascript"))
        if not check(task.category, task.id, task.reference.calls).right
    }
    assert wrong == {"simple_java_36", "simple_java_64", "simple_java_65"}


def test_references_pass_bfcls_own_checker_but_for_two_questions_no_answer_can_pass():
    wrong = {
        task.id
        for task in bfcl.read(categories=bfcl.ANSWERED)
        if task.reference is not None
        and task.category not in ("simple_java", "simple_javascript")
        and not check(task.category, task.id, task.reference.calls).right
    }
    assert wrong == {"live_simple_106-63-0", "live_simple_112-68-0"}


def test_categories_without_possible_answers_ask_only_whether_a_call_was_made():
    call = Call("f", {})
    assert check("irrelevance", "irrelevance_0", ()).right
    assert check("live_irrelevance", "live_irrelevance_0-0-0", (call,)).error_type is ErrorType.NUMBER
    assert check("live_relevance", "live_relevance_0-0-0", (call,)).right
    assert check("live_relevance", "live_relevance_0-0-0", ()).error_type is ErrorType.NUMBER


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ODD = (
    ("simple_python", "simple_python_96", "database.query", ("table", "conditions")),
    ("simple_python", "simple_python_83", "calculate_distance", ("coord1", "coord2")),
    ("live_simple", "live_simple_165-98-0", "process_data", ("data",)),
    ("simple_java", "simple_java_1", "SQLCompletionAnalyzer.makeProposalsFromObject", ("object", "params")),
    ("simple_javascript", "simple_javascript_5", "manageReactState", ("store", "context", "hooks")),
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ODD), st.lists(JSON, min_size=3, max_size=3))
def test_odd_values_get_a_verdict_and_never_an_exception(question, values):
    category, name, function, parameters = question
    verdict = check(category, name, (Call(function, dict(zip(parameters, values))),))
    assert verdict.right == (verdict.error_type is None)


def test_values_the_checker_stumbles_over_are_wrong_with_a_reason():
    function = {**FUNCTION, "parameters": {**FUNCTION["parameters"], "properties": {"a": {"type": "dict"}}}}
    call = Call("math.add", {"a": {"x": 1}})
    verdict = check("simple_python", ([function], [{"math.add": {"a": [{"k": [3.5, None]}, 7]}}]), (call,))
    assert verdict.bfcl_error_type == "checker:failed"
    assert "TypeError" in verdict.message
    function = {**FUNCTION, "parameters": {**FUNCTION["parameters"], "properties": {"a": {"type": "float"}}}}
    verdict = check("simple_python", ([function], [{"math.add": {"a": [1.0]}}]), (Call("math.add", {"a": 10**400}),))
    assert verdict.bfcl_error_type == "checker:failed"


@pytest.mark.parametrize("value", ["x" * 200_000, {1, 2}, [[[]]] * 100_000])
def test_what_is_too_large_or_no_json_is_wrong_and_not_checked(value):
    verdict = check("simple_python", "simple_python_0", (Call(TRIANGLE, {"base": value, "height": 5}),))
    assert verdict.bfcl_error_type == "checker:too_large"


@pytest.mark.parametrize("depth", [100, *range(850, 1000, 5), 100_000])
def test_deep_nesting_is_wrong(depth):
    value = []
    for _ in range(depth):
        value = [value]
    assert not check("simple_python", "simple_python_0", (Call(TRIANGLE, {"base": value, "height": 5}),)).right


@pytest.mark.parametrize("text", ["{" + "a: " * 30_000, "{a:" + ", " * 1_900 + "}", "[[" + "],[" * 1_300, "{{" * 1_900])
def test_long_collections_in_javascript_take_no_long_time(text):
    begin = time.thread_time()
    check("simple_javascript", "simple_javascript_5", (Call("manageReactState", {"store": text}),))
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("type_error:nested", ErrorType.TYPE),
        ("value_error:dict_key", ErrorType.VALUE),
        ("multiple_function_checker:wrong_count", ErrorType.NUMBER),
        ("ast_decoder:decoder_failed", ErrorType.FORMAT),
        ("a:cannot_find_match>type_error:simple", ErrorType.TYPE),
        ("a:cannot_find_match>simple_function_checker:missing_optional", ErrorType.MISSING_OPTIONAL),
    ],
)
def test_labels_become_our_types(label, kind):
    assert error_type(label) is kind


def test_unknown_questions_and_categories_are_named():
    with pytest.raises(DataError, match="simple_python_4000"):
        check("simple_python", "simple_python_4000", ())
    with pytest.raises(DataError, match="multi_turn_base"):
        check("multi_turn_base", "multi_turn_base_0", ())


def test_no_trace_of_the_stand_in_is_left_behind():
    program = (
        "import sys; from toolrm_jax.sources.bfcl_checker import ast_checker; ast_checker();"
        "print([name for name in sys.modules if name.startswith('bfcl_eval')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
