"""RoTBench: a hand-written item in the published form, the two numbers by hand, and every item of the real files."""

import json
from collections import Counter

import pytest

from tests.evals.making import group
from toolrm_jax.errors import DataError
from toolrm_jax.evals import rotbench as benchmark
from toolrm_jax.sources import rotbench
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Call, ErrorType

TOOLS = [
    {
        "name": name,
        "description": f"It can {name}.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    }
    for name in ("translate", "finish", "ask_to_user")
]
SYSTEM = (
    'You are an expert.\n\nDesired format:\nThought: <t>\n\nRemember:\n4. Always use the "finish" tool upon task '
    f"completion.\n\nTask description: You have access of the following tools:\n{json.dumps(TOOLS)}\n\nLet's Begin!"
)
FIRST = {
    "id": "Turn 1: Translate it. TG",
    "conversations": [
        {"from": "system", "value": SYSTEM},
        {"from": "user", "value": "Translate it.\nBegin!\n"},
        {
            "from": "assistant",
            "value": [
                'Thought:\nAction: translate\nAction Input: {"text": "it"}',
                'Thought:\nAction: ask_to_user\nAction Input: {"text": "what?"}',
            ],
        },
    ],
    "scenario": "TG",
}
THIRD = {
    "id": "Turn 3: Translate it. TG",
    "conversations": [
        *FIRST["conversations"][:2],
        {"from": "assistant", "value": 'Thought: hm\nAction: translate\nAction Input: {"text": "it"}'},
        {"from": "function", "value": '{"result": "es"}'},
        {"from": "assistant", "value": ['Thought:\nAction: finish\nAction Input: {"text": "es"}']},
    ],
    "scenario": "TG",
}


@pytest.fixture
def folder(tmp_path):
    for turn, item in (("First_Turn", FIRST), ("Third_Turn", THIRD)):
        (tmp_path / "Data" / turn).mkdir(parents=True)
        for level in ("clean", "union"):
            (tmp_path / "Data" / turn / f"{level}.json").write_text(json.dumps([item]))
    return tmp_path


def test_tools_turns_and_every_accepted_answer_are_read(folder):
    found = list(rotbench.read_accepted(folder, Drops(strict=True)))
    assert [task.category for task, _ in found] == ["first/clean", "first/union", "third/clean", "third/union"]
    task, accepted = found[0]
    assert [tool.name for tool in task.context.tools] == ["translate", "finish", "ask_to_user"]
    assert accepted == (Call("translate", {"text": "it"}), Call("ask_to_user", {"text": "what?"}))
    assert task.context.messages[0].content.startswith("You are an expert.")
    assert "Desired format" not in task.context.messages[0].content
    assert rotbench.question_of(task) == "Translate it."
    third = found[2][0].context.messages
    assert [(m.role, m.content) for m in third[2:]] == [("assistant", "hm"), ("tool", '{"result": "es"}')]
    assert third[2].calls == (Call("translate", {"text": "it"}),)
    assert third[3].name == "translate"


def test_accepted_answers_are_right_and_other_tools_and_mistakes_are_wrong(folder):
    first = benchmark.read(folder).groups[0]
    by_name = {c.calls[0].name: v for c, v in zip(first.candidates, first.verdicts) if c.maker != "reference"}
    right = [c.calls[0].name for c, v in zip(first.candidates, first.verdicts) if v.right]
    assert right == ["translate", "ask_to_user"]
    assert by_name["finish"].error_type is ErrorType.NAME
    assert any(not v.right and v.error_type is not ErrorType.NAME for v in first.verdicts)


def test_selection_counts_the_tool_and_the_whole_call_its_arguments_too():
    kinds = [ErrorType.NAME, ErrorType.VALUE]
    groups = [group(str(k), ["Ulm"], ["Bonn", "Gera"], "first/clean", kinds) for k in range(4)]
    # Right; wrong tool; right tool with a wrong value; a tie of the right one and the wrong tool.
    scores = [[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0], [3.0, 3.0, 1.0]]
    found = {(m.part, m.name): m.value for m in benchmark.measures(groups, scores)}
    assert found[benchmark.SELECTION, "first turn, clean"] == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found[benchmark.WHOLE, "first turn, clean"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_an_item_that_cannot_be_read_is_told_with_its_place(folder):
    broken = json.loads(json.dumps(FIRST))
    broken["conversations"][-1]["value"] = ["no action here"]
    (folder / "Data" / "First_Turn" / "clean.json").write_text(json.dumps([FIRST, broken]))
    with pytest.raises(DataError, match=r"clean.json:2"):
        benchmark.read(folder)
    (folder / "other").mkdir()
    (folder / "other" / "x.json").write_text("[]")
    with pytest.raises(DataError, match="First_Turn"):
        benchmark.read(folder / "other")


def test_every_item_of_the_real_files_is_read(data_folder):
    drops = Drops()
    found = list(rotbench.read_accepted(data_folder("rotbench"), drops))
    counts = Counter(task.category for task, _ in found)
    first, third = (105, 210, 210, 210, 105), (70, 140, 140, 140, 70)
    assert counts == {
        f"{t}/{n}": c for t, s in (("first", first), ("third", third)) for n, c in zip(rotbench.LEVELS, s)
    }
    assert drops.total == 0
    assert all(call.name in {tool.name for tool in task.context.tools} for task, calls in found for call in calls)
    # The noisy files ask the clean questions again.
    assert len({rotbench.question_of(t) for t, _ in found if t.category.startswith("first")}) <= 105
