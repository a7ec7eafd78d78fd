"""Sources whose real files are read elsewhere: the rules of each on the smallest items that show them."""

import json

import pytest

from toolrm_jax import sources
from toolrm_jax.errors import DataError
from toolrm_jax.sources import Drops, acebench, star, star_apis, taskmaster, toolbench_apis
from toolrm_jax.sources.drops import BAD_CALL, NO_ANSWER, NOT_READABLE, UNKNOWN_TOOL, Unfit
from toolrm_jax.sources.toolalpaca import read_functions
from toolrm_jax.sources.tools import read_tool, read_tools
from toolrm_jax.toolcalls.types import Call, Message, Reference


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def star_dialogue(events, version=7):
    return {
        "DialogueID": 9,
        "FORMAT-VERSION": version,
        "Scenario": {"Happy": True, "WizardTask": "Help.", "WizardCapabilities": [{"Task": "bank_balance"}]},
        "Events": events,
    }


def query(*constraints):
    return {
        "Agent": "Wizard",
        "Action": "query",
        "APIName": "bank_balance",
        "Constraints": [{name: value} for name, value in constraints],
    }


ASK = {"Agent": "User", "Action": "utter", "Text": "My balance?"}
RETURN = {"Agent": "KnowledgeBase", "Action": "return_item", "Item": {"Balance": 5}, "APIName": "bank_balance"}
PICK = {"Agent": "Wizard", "Action": "pick_suggestion", "Text": "It is 5."}
NOISE = [
    {"Agent": "UserGuide", "Action": "instruct", "Text": "Be confused."},
    {"Agent": "Wizard", "Action": "request_suggestions", "Text": "Draft"},
]


def test_star_has_queries_and_replies_and_leaves_out_what_nobody_said(tmp_path):
    events = [*NOISE, ASK, query(("FullName", '"Jane"'), ("PIN", "0042")), RETURN, NOISE[1], PICK]
    path = write(tmp_path / "dialogues" / "9.json", star_dialogue(events))
    tasks = list(sources.read("star", tmp_path, strict=True))
    assert [task.reference for task in tasks] == [
        Reference((Call("bank_balance", {"FullName": "Jane", "PIN": "0042"}),)),
        Reference(text="It is 5."),
    ]
    assert tasks[1].context.messages[-1] == Message("tool", '{"Balance": 5}', (), "bank_balance")
    assert (tasks[0].id, tasks[0].category) == ("star/9/2", "happy")
    assert list(sources.read("star", path)) == tasks


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (star_dialogue([ASK], version=6), NOT_READABLE),
        ({"DialogueID": 9}, NOT_READABLE),
        (star_dialogue([ASK, query(("PIN", "1"), ("PIN", "2")), RETURN]), BAD_CALL),
        (star_dialogue([ASK, query(("PIN", '"1')), RETURN]), BAD_CALL),
        (star_dialogue([ASK, query(("PIN", "api.guess(3)")), RETURN]), BAD_CALL),
    ],
)
def test_star_drops_other_versions_and_queries_that_are_none(tmp_path, content, reason):
    write(tmp_path / "dialogues" / "9.json", content)
    drops = Drops()
    assert list(sources.read("star", tmp_path, drops=drops)) == []
    assert drops.counts == {reason: 1}


def test_star_drops_a_file_cut_short_and_strictly_names_it(tmp_path):
    write(tmp_path / "dialogues" / "1.json", star_dialogue([ASK, PICK]))
    (tmp_path / "dialogues" / "2.json").write_text('{"Dialogue')
    drops = Drops()
    assert len(list(sources.read("star", tmp_path, drops=drops))) == 1
    assert drops.counts == {NOT_READABLE: 1}
    with pytest.raises(DataError, match=r"2\.json.*cannot be read as JSON"):
        list(sources.read("star", tmp_path, strict=True))


@pytest.mark.parametrize(
    ("published", "is_text", "value"),
    [
        ('"Alexis"', True, "Alexis"),
        ("9431", True, "9431"),
        ("9431", False, 9431),
        ("true", False, True),
        ("False", False, False),
        ('api.is_equal_to("Dr. Johnson")', True, "Dr. Johnson"),
        ("api.is_at_least(4)", False, {"is_at_least": 4}),
        ('api.is_one_of(["1 pm","2 pm"])', False, {"is_one_of": ["1 pm", "2 pm"]}),
        ("api.is_not(api.is_equal_to(3))", False, {"is_not": 3}),
        (7, False, 7),
    ],
)
def test_star_expressions(published, is_text, value):
    assert star.value(published, is_text) == value


def test_star_two_conditions_on_one_name_are_one_object():
    both = [{"Price": "api.is_at_least(400)"}, {"Price": "api.is_at_most(900)"}]
    assert star.arguments("apartment_search", both) == {"Price": {"is_at_least": 400, "is_at_most": 900}}


def test_star_apis_are_usable_tools():
    assert len(star_apis.APIS) == 24
    for api in star_apis.APIS:
        assert read_tool({"name": api, "parameters": star_apis.schema(api)}).parameters == {
            key: part for key, part in star_apis.schema(api).items() if part != []
        }


def test_taskmaster_calls_stand_between_the_words(tmp_path):
    annotations = [
        {"name": "api_call", "value": "show_menu", "context": "0"},
        {"name": "api_response", "value": "show_menu", "context": "0"},
        {"name": "response", "value": '{"success": true}', "context": "0"},
        {"name": "api_call", "value": "get_menu_items", "context": "1"},
        {"name": "request", "value": '{"query": "Latte"}', "context": "1"},
        {"name": "api_response", "value": "get_menu_items", "context": "1"},
        {"name": "response", "value": '{"menu_items": []}', "context": "1"},
    ]
    row = {
        "conversation_id": "dlg-1",
        "utterances": [
            {"speaker": "user", "text": "A latte", "annotations": annotations},
            {"speaker": "assistant", "text": "None left.", "annotations": []},
        ],
    }
    write(tmp_path / "TM-4-2024" / "data" / "data_00.json", [row])
    tasks = list(sources.read("taskmaster", tmp_path, strict=True))
    assert [task.reference.calls or task.reference.text for task in tasks] == [
        (Call("show_menu", {}),),
        (Call("get_menu_items", {"query": "Latte"}),),
        "None left.",
    ]


def reward(**changes):
    return {
        "conversation_id": "dlg-1",
        "context": '[{"role": "user", "text": "A latte"}]',
        "generation": '{"role": "agent", "api": {"get_menu_items": {"query": "latte"}}}',
        "reward": 1.0,
    } | changes


def test_taskmaster_rewards_keep_tm3_and_tm4_apart(tmp_path):
    for name in ("TM-3-2020", "TM-4-2024"):
        write(tmp_path / name / "reward" / "reward_00.json", [reward(reward=float(name == "TM-4-2024"))])
    three, four = sources.read_candidates("taskmaster", tmp_path, strict=True)
    assert (three.task.category, three.task.reference) == ("TM-3-2020", None)
    assert (four.task.category, four.task.reference.calls) == ("TM-4-2024", four.candidates[0].calls)
    assert "book_tickets" in {tool.name for tool in three.task.context.tools}
    assert "book_tickets" not in {tool.name for tool in four.task.context.tools}


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": 0.5},
        {"context": "[{"},
        {"generation": '{"role": "user", "text": "a"}'},
        {"generation": '{"role": "agent", "api": {"f": 3}}'},
        {"context": '[{"role": "robot", "text": "a"}]'},
    ],
)
def test_taskmaster_rewards_that_are_none_are_dropped(tmp_path, changes):
    write(tmp_path / "TM-3-2020" / "reward" / "reward_00.json", [reward(**changes)])
    drops = Drops()
    assert list(sources.read_candidates("taskmaster", tmp_path, drops=drops)) == []
    assert drops.total == 1


def test_taskmaster_tools_are_in_the_repaired_form():
    for tool in (*taskmaster.TM3, *taskmaster.TM4):
        repaired = read_tool({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        assert repaired.properties == tool.properties


FUNCTIONS = {
    "searchImages": "Search for images.\nParameters: "
    + json.dumps(
        {
            "color": "Required. string. One of: [wild, albino]. The color.",
            "page": "integer. The page.",
            "names": "Array[string]. Which names.",
        }
    )
    + "\nOutput: Successful response.",
    "components": "The detailed output format: Object{a}",
}


def test_toolalpaca_functions_are_described_in_prose():
    (tool,) = read_functions(FUNCTIONS)
    assert (tool.name, tool.description) == ("searchImages", "Search for images.")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "color": {"type": "string", "enum": ["wild", "albino"], "description": "The color."},
            "page": {"type": "integer", "description": "The page."},
            "names": {"type": "array", "items": {"type": "string"}, "description": "Which names."},
        },
        "required": ["color"],
    }


def alpaca(golden):
    return {
        "Name": "Axolotl",
        "Function_Description": FUNCTIONS,
        "Instructions": ["A wild one"],
        "Golden_Answers": [golden],
    }


def step(text, name="searchImages"):
    return {"Action": name, "Action_Input": text}


@pytest.mark.parametrize(
    ("golden", "right", "reason"),
    [
        ([step('{"color": "wild", "page": ""}')], [{"color": "wild"}], None),
        ([step('{"color": "wild"}'), step('{"color": ${color from searchImages}}')], [{"color": "wild"}], None),
        ([step('{"color": ${color}}')], [], NO_ANSWER),
        ([], [], NO_ANSWER),
        ([step("{}", "other")], [], UNKNOWN_TOOL),
        ([step('{"color": "a": "b"}')], [], BAD_CALL),
    ],
)
def test_toolalpaca_golden_calls(tmp_path, golden, right, reason):
    write(tmp_path / "eval_simulated.json", [alpaca(golden)])
    drops = Drops()
    tasks = list(sources.read("toolalpaca", tmp_path, drops=drops))
    assert [call.arguments for task in tasks for call in task.reference.calls] == right
    assert dict(drops.counts) == ({} if reason is None else {reason: 1})


def test_toolalpaca_training_runs_are_cut_into_steps(tmp_path):
    instance = {
        "input": "A wild one",
        "output": "Here.",
        "Final Thought": "Done.",
        "intermediate_steps": [[["searchImages", '{"color": "wild"}', "log"], "Status Code: 200. Response: {}"]],
    }
    api = {"Name": "Axolotl", "Function_Description": FUNCTIONS, "Instances": [instance, {"input": "b"}]}
    write(tmp_path / "train_data.json", [api])
    drops = Drops()
    tasks = list(sources.read("toolalpaca", tmp_path, drops=drops))
    assert [task.reference.calls or task.reference.text for task in tasks] == [
        (Call("searchImages", {"color": "wild"}),),
        "Here.",
    ]
    assert drops.counts == {NO_ANSWER: 1}


@pytest.mark.parametrize(
    ("truth", "name", "reference"),
    [
        ({"f_1": {"a": 1}, "f_2": {"a": 2}}, "normal_x", Reference((Call("f", {"a": 1}), Call("f", {"a": 2})))),
        (
            [{"f": {"a": 1}}, {"f": {"a": 2, "b": 3}}],
            "normal_x",
            Reference((Call("f", {"a": 1}),), accepted=({"a": [1, 2], "b": ["", 3]},)),
        ),
        ("I cannot.", "special_irrelevant", Reference(text="I cannot.")),
        (
            {"f": ["a", "b"]},
            "special_incomplete",
            Reference(text="I need more information before I can help: a, b of f."),
        ),
        ({"a": ["x"]}, "special_error_param", Reference(text='I cannot use what you gave: ["x"] as a.')),
    ],
)
def test_acebench_answers(truth, name, reference):
    tools = read_tools([{"name": "f", "arguments": {"type": "dict", "properties": {"a": {"type": "integer"}}}}])
    assert acebench._reference(truth, tools, name) == reference


def test_acebench_alternatives_of_different_functions_are_refused():
    with pytest.raises(Unfit):
        acebench._reference([{"f": {}}, {"g": {}}], (), "normal_x")


@pytest.mark.parametrize(
    ("tool", "api", "name"),
    [
        ("TheClique", "Songkick concert", "songkick_concert_for_theclique"),
        ("168 Predict", "class", "is_class_for_get_168_predict"),
        ("A" * 60, "search", ("search_for_" + "a" * 60)[-64:]),
    ],
)
def test_toolbench_names(tool, api, name):
    assert toolbench_apis.function_name(tool, api) == name


def test_bfcl_result_files_become_graded_groups(tmp_path, bfcl_eval):
    right = [{"calculate_triangle_area": '{"base": 10, "height": 5}'}]
    folder = tmp_path / "result" / "some-model"
    folder.mkdir(parents=True)
    lines = [
        {"id": "simple_python_0", "result": right},
        {"id": "simple_python_0", "result": "[calculate_triangle_area(base=11, height=5)]"},
        {"id": "simple_python_0", "result": "I cannot."},
        {"id": "simple_python_9999", "result": right},
    ]
    (folder / "BFCL_v4_simple_python_result.json").write_text("\n".join(map(json.dumps, lines)))
    drops = Drops()
    (group,) = sources.read_candidates("bfcl_outputs", tmp_path, drops=drops)
    assert [verdict.right for verdict in group.verdicts] == [True, False, False]
    assert [candidate.fault is None for candidate in group.candidates] == [True, True, False]
    assert group.verdicts[1].error_type == "incorrect parameter value"
    assert drops.counts == {"answer to an unknown question": 1}
