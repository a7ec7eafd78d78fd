"""Readers of hub data sets, on small files in the published forms, each with its oddities."""

import json

import pytest

from toolrm_jax import sources
from toolrm_jax.errors import DataError
from toolrm_jax.sources import Drops
from toolrm_jax.sources.drops import (
    BAD_ARGUMENTS,
    BAD_CALL,
    FAILED_RESULT,
    NO_TOOLS,
    NOT_READABLE,
    REPEATED_ID,
    ROLE_ORDER,
    SAME_ANSWERS,
    SAME_NAME,
    UNKNOWN_TOOL,
)
from toolrm_jax.toolcalls.types import Call, Message, Reference, Tool

WEATHER = {
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
TOOL = Tool("get_weather", "The weather.", WEATHER["parameters"])
ROME = Call("get_weather", {"city": "Rome"})


@pytest.fixture
def read(tmp_path):
    """Tasks and drop counts of a source from rows, written as JSON lines or as one JSON list."""

    def read(name, rows, file="rows.json", strict=False):
        lines = file.endswith(".jsonl")
        text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
        (tmp_path / file).write_text(text, encoding="utf-8")
        drops = Drops()
        how = sources.read if sources.SOURCES[name].reads_tasks else sources.read_candidates
        return list(how(name, tmp_path / file, drops=drops, strict=strict)), drops.counts

    return read


def references(tasks):
    return [task.reference.calls or task.reference.text for task in tasks]


XLAM_TOOL = {
    "name": "search",
    "description": "Search.",
    "parameters": {
        "query": {"description": "What.", "type": "str"},
        "tags": {"description": "Which.", "type": "List[str], optional", "default": ""},
        "page": {"description": "Page.", "type": "int", "default": 1},
    },
}


def xlam(id, answers, tools=(XLAM_TOOL,)):
    return {"id": id, "query": "Find cats.", "tools": json.dumps(tools), "answers": json.dumps(answers)}


def test_xlam_has_json_in_strings_and_python_types(read):
    answer = {"name": "search", "arguments": {"query": "cats", "page": 2}}
    ((task,), _) = read("xlam", [xlam(5, [answer])], strict=True)
    assert (task.id, task.category, task.licence) == ("xlam/5", "call", "CC-BY-4.0")
    assert task.context.tools == (
        Tool(
            "search",
            "Search.",
            {
                "type": "object",
                "properties": {
                    "query": {"description": "What.", "type": "string"},
                    "tags": {"description": "Which.", "type": "array", "items": {"type": "string"}, "default": ""},
                    "page": {"description": "Page.", "type": "integer", "default": 1},
                },
                "required": ["query"],
            },
        ),
    )
    assert task.context.messages == (Message("user", "Find cats."),)
    assert task.reference == Reference((Call("search", {"query": "cats", "page": 2}),))


@pytest.mark.parametrize(
    ("answers", "tools", "reason"),
    [
        ([{"name": "find", "arguments": {}}], [XLAM_TOOL], UNKNOWN_TOOL),
        ([{"name": "search", "arguments": {"page": 1}}], [XLAM_TOOL], BAD_ARGUMENTS),
        ([{"name": "search", "arguments": {"query": 3}}], [XLAM_TOOL], BAD_ARGUMENTS),
        ([], [XLAM_TOOL, {**XLAM_TOOL, "description": "Other."}], SAME_NAME),
        ("[{", [XLAM_TOOL], BAD_CALL),
    ],
)
def test_xlam_drops_what_does_not_fit(read, answers, tools, reason):
    assert read("xlam", [xlam(1, answers, tools)]) == ([], {reason: 1})


def test_xlam_irrelevance_has_no_call(read):
    (task,), _ = read("xlam_irrelevance", [xlam(3, [])], strict=True)
    assert (task.id, task.category, task.reference) == ("xlam_irrelevance/3", "irrelevance", Reference())


def test_apigen_mt_has_a_policy_and_calls_as_turns(read):
    row = {
        "system": "# Airline Agent Policy",
        "tools": json.dumps([WEATHER]),
        "conversations": [
            {"from": "human", "value": "Weather in Rome?"},
            {"from": "function_call", "value": json.dumps({"name": "get_weather", "arguments": {"city": "Rome"}})},
            {"from": "observation", "value": "Error: station is down"},
            {"from": "function_call", "value": json.dumps({"name": "get_weather", "arguments": {"city": "Rome"}})},
            {"from": "observation", "value": '{"sky": "clear"}'},
            {"from": "gpt", "value": "Clear."},
        ],
    }
    tasks, drops = read("apigen_mt", [row])
    assert references(tasks) == [(ROME,), "Clear."]
    assert drops == {FAILED_RESULT: 1}
    assert [task.id for task in tasks] == ["apigen_mt/rows/0/4", "apigen_mt/rows/0/6"]
    assert tasks[0].category == "airline"
    assert tasks[0].context.messages[0] == Message("system", "# Airline Agent Policy")
    assert tasks[0].context.tools == (TOOL,)


def test_button_writes_tools_calls_and_results_into_texts(read):
    system = (
        "You are an expert in using functions (i.e., tools) to solve users' tasks.\n<tool>\n"
        f"[{json.dumps(WEATHER)}]\n</tool>\n\nIn your response, you need first provide your observation."
    )
    oslo = Call("get_weather", {"city": "Oslo"})
    call = f"<call>{json.dumps([ROME.to_json(), oslo.to_json()])}</call>"
    results = [
        {"name": "get_weather", "arguments": {"city": "Rome"}, "results": {"sky": "clear"}},
        {"name": "get_weather", "arguments": {"city": "Oslo"}, "results": {"sky": "grey"}},
    ]
    row = {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": "Rome or Oslo?"},
            {"role": "assistant", "content": f"I need both. {call}"},
            {"role": "tool", "content": json.dumps(results)},
            {"role": "assistant", "content": "All is known. <final>Rome.</final>"},
        ]
    }
    tasks, drops = read("button", [row], "button_instruct.jsonl")
    assert drops == {}
    assert tasks[0].reference == Reference((ROME, oslo), "I need both.")
    assert tasks[0].context.tools == (TOOL,)
    assert [message.role for message in tasks[1].context.messages] == ["user", "assistant", "tool", "tool"]
    assert tasks[1].context.messages[3] == Message("tool", '{"sky": "grey"}', (), "get_weather")
    assert tasks[1].reference.text == "All is known. Rome."


def test_complexfuncbench_has_lists_of_calls_and_of_observations(read):
    row = {
        "id": "Hotels-7",
        "functions": [WEATHER],
        "conversations": [
            {"role": "user", "content": "Rome?"},
            {"role": "assistant", "function_call": [{"name": "get_weather", "arguments": {"city": "Rome"}}]},
            {"role": "observation", "content": [{"status": True, "data": []}]},
            {"role": "assistant", "content": "Clear."},
        ],
    }
    tasks, drops = read("complexfuncbench", [row], "ComplexFuncBench.jsonl")
    assert drops == {}
    assert [task.id for task in tasks] == ["complexfuncbench/Hotels-7/1", "complexfuncbench/Hotels-7/3"]
    assert {task.category for task in tasks} == {"Hotels"}
    assert references(tasks) == [(ROME,), "Clear."]


GLAIVE_SYSTEM = (
    "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(WEATHER, indent=4)
    + "\n\n"
    + json.dumps({"name": "now", "description": "The time.", "parameters": {}}, indent=4)
)


def test_glaive_v2_is_two_texts_with_json_in_single_quotes(read):
    chat = (
        "USER: What's Rome like?\n\n\n"
        'ASSISTANT: <functioncall> {"name": "get_weather", "arguments": \'{"city": "Rome"}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"sky": "clear"}\n\n\n'
        "ASSISTANT: It's clear. <|endoftext|>\n\n\n"
        "USER: And L'Aquila?\n\n\n"
        'ASSISTANT: <functioncall> {"name": "get_weather", "arguments": \'{"city": "L\'Aquila"}\'} <|endoftext|>\n\n\n'
    )
    tasks, drops = read("glaive_v2", [{"system": GLAIVE_SYSTEM, "chat": chat}])
    assert drops == {}
    assert references(tasks) == [(ROME,), "It's clear.", (Call("get_weather", {"city": "L'Aquila"}),)]
    assert [tool.name for tool in tasks[0].context.tools] == ["get_weather", "now"]
    assert tasks[2].context.messages[-1] == Message("user", "And L'Aquila?")


@pytest.mark.parametrize(
    ("system", "chat", "reason"),
    [
        ("SYSTEM: You are a helpful assistant, with no access to external functions.", "USER: a", NO_TOOLS),
        (GLAIVE_SYSTEM, "hello", NOT_READABLE),
        (GLAIVE_SYSTEM, 'USER: a\n\n\nASSISTANT: <functioncall> {"name": } <|endoftext|>', BAD_CALL),
        (GLAIVE_SYSTEM, "USER: a\n\n\nFUNCTION RESPONSE: {}", ROLE_ORDER),
        (GLAIVE_SYSTEM[:-4], "USER: a", "tool beyond repair"),
    ],
)
def test_glaive_v2_drops(read, system, chat, reason):
    assert read("glaive_v2", [{"system": system, "chat": chat}]) == ([], {reason: 1})


HERMES_TOOLS = json.dumps([{"type": "function", "function": WEATHER}])


def test_hermes_has_python_literals_in_tags(read):
    row = {
        "id": "abc",
        "category": "Weather",
        "tools": HERMES_TOOLS,
        "conversations": [
            {"from": "system", "value": f"You are a function calling AI model. <tools> {HERMES_TOOLS} </tools> Use"},
            {"from": "human", "value": "Rome?"},
            {
                "from": "gpt",
                "value": "<tool_call>\n{'arguments': {'city': 'Rome'}, 'name': 'get_weather'}\n</tool_call>",
            },
            {"from": "tool", "value": "<tool_response>\n{'sky': 'clear', 'rain': None}\n</tool_response>"},
            {"from": "gpt", "value": "Clear."},
        ],
    }
    tasks, drops = read("hermes", [row])
    assert drops == {}
    assert references(tasks) == [(ROME,), "Clear."]
    assert (tasks[0].id, tasks[0].category) == ("hermes/abc/1", "Weather")
    assert tasks[0].context.messages == (Message("user", "Rome?"),)  # the block of tools is the template's to write
    without = {key: value for key, value in row.items() if key != "tools"}
    assert references(read("hermes", [without])[0]) == [(ROME,), "Clear."]


def test_hermes_rows_on_structured_output_drop_out(read):
    row = {"conversations": [{"from": "system", "value": "Answer in JSON."}, {"from": "human", "value": "a"}]}
    assert read("hermes", [row]) == ([], {NO_TOOLS: 1})


def toolrm(wrong='[{"name": "get_weather", "arguments": {"city": "Oslo"}}]'):
    return {
        "uuid": "u1",
        "dataset_name": "xlam",
        "conversation": [{"role": "user", "content": "Rome?"}],
        "tools": json.dumps([WEATHER]),
        "tool_calls_correct": '[{"name": "get_weather", "arguments": {"city": "Rome"}}]',
        "tool_calls_incorrect": wrong,
        "generator_model": "granite-3.3-2b-instruct",
    }


def test_toolrm_train_data_is_a_right_and_a_wrong_answer(read):
    (group,), drops = read("toolrm_train_data", [toolrm()], strict=True)
    assert drops == {}
    assert group.task.reference.calls == (ROME,)
    assert [candidate.calls for candidate in group.candidates] == [(ROME,), (Call("get_weather", {"city": "Oslo"}),)]
    assert [candidate.maker for candidate in group.candidates] == ["reference", "model:granite-3.3-2b-instruct"]
    assert [verdict.right for verdict in group.verdicts] == [True, False]


def test_toolrm_train_data_keeps_answers_that_are_no_calls_and_drops_equal_ones(read):
    ((group,), _) = read("toolrm_train_data", [toolrm("[{'name'")])
    assert group.candidates[1].fault is not None
    assert group.candidates[1].raw == "[{'name'"
    assert read("toolrm_train_data", [toolrm(toolrm()["tool_calls_correct"])]) == ([], {SAME_ANSWERS: 1})


def test_toolrm_train_data_is_read_from_the_arrow_files_of_its_release(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist([toolrm(), toolrm() | {"uuid": "u2"}])
    with pyarrow.ipc.new_stream(str(tmp_path / "data-00000-of-00003.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pyarrow.ipc.new_file(str(tmp_path / "data-00001-of-00003.arrow"), table.schema) as writer:
        writer.write_table(table.slice(1, 1))
    groups = list(sources.read_candidates("toolrm_train_data", tmp_path, strict=True))
    assert [group.task.id for group in groups] == [f"toolrm_train_data/{id}" for id in ("u1/0", "u2/1", "u2/2")]
    (tmp_path / "data-00000-of-00003.arrow").write_bytes(b"ARROW1 cut short")
    with pytest.raises(DataError, match=r"data-00000.*cannot be read"):
        list(sources.read_candidates("toolrm_train_data", tmp_path))


QWEN_SYSTEM = (
    "Be brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    + json.dumps({"type": "function", "function": WEATHER})
    + "\n"
    + json.dumps({"type": "function", "function": {"name": "now", "description": "", "parameters": {}}})
    + "\n</tools>\n\nFor each function call, return a json object"
)
HISTORY = [{"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": "Rome?"}]


def tagged(city):
    return f'Sure.\n<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'


def test_toolpref_in_its_discriminative_layout(read):
    row = {
        "chosen": [*HISTORY, {"role": "assistant", "content": tagged("Rome")}],
        "chosen_score": 0.8,
        "rejected": [*HISTORY, {"role": "assistant", "content": tagged("Oslo")}],
        "rejected_score": 0.4,
    }
    (group,), _ = read("toolpref", [row], strict=True)
    assert group.task.context.messages == (Message("system", "Be brief."), Message("user", "Rome?"))
    assert [tool.name for tool in group.task.context.tools] == ["get_weather", "now"]
    assert group.task.reference is None
    assert [candidate.calls[0].arguments["city"] for candidate in group.candidates] == ["Rome", "Oslo"]
    assert [candidate.text for candidate in group.candidates] == ["Sure.", "Sure."]
    assert [(verdict.right, verdict.score) for verdict in group.verdicts] == [(True, 0.8), (False, 0.4)]
    assert read("toolpref", [row | {"chosen_score": 0.4}])[1] == {NOT_READABLE: 1}
    assert read("toolpref", [row | {"rejected": row["chosen"]}])[1] == {SAME_ANSWERS: 1}
    assert read("toolpref", [row | {"rejected": row["rejected"][1:]}])[1] == {NOT_READABLE: 1}


def test_toolpref_in_its_generative_layout(read):
    row = {
        "uuid": 454,
        "task_source": "",
        "gt_actions": '[{"name": "get_weather", "arguments": {"city": "Rome"}}]',
        "chat_history": HISTORY,
        "chosen_response": {"role": "assistant", "content": tagged("Rome")},
        "chosen_response_reward": 1.0,
        "chosen_response_from": "ground truth",
        "reject_response": {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}],
        },
        "reject_response_reward": 0.0,
        "reject_response_from": "Qwen3-8B",
    }
    (group,), _ = read("toolpref", [row], strict=True)
    assert group.task.id == "toolpref/454"
    assert group.task.reference.calls == (ROME,)
    assert [candidate.maker for candidate in group.candidates] == ["reference", "model:Qwen3-8B"]
    assert group.candidates[1].calls == (Call("get_weather", {"city": "Oslo"}),)
    assert read("toolpref", [row, row])[1] == {REPEATED_ID: 1}
