"""Noise changes how a question is put and never which answer is right; flips and shifts against hand-worked numbers."""

import dataclasses

import pytest

from tests.evals.making import TOOL, group
from toolrm_jax.evals import perturb
from toolrm_jax.toolcalls.types import Tool

MEAL = {"type": "object", "properties": {"description": {"type": "string", "description": "what"}}}
OTHER = Tool("cook", "Cooks.", MEAL)
GROUPS = [
    group("a", ["Ulm"], ["Bonn"], tools=(TOOL, OTHER)),
    group("b", ["Ulm"], ["Gera"], tools=(TOOL, Tool("sing", "Sings.", MEAL))),
]


def forms():
    found = {}
    for one in perturb.perturbed(GROUPS).groups:
        name, _, kind = one.task.id.rpartition(" | ")
        found[name, kind] = one
    return found


def test_every_group_comes_in_five_forms_with_the_same_verdicts():
    found = forms()
    assert len(found) == 10
    for (name, _), one in found.items():
        assert one.verdicts == GROUPS["ab".index(name)].verdicts


def test_renamed_calls_call_the_renamed_tool_with_the_same_values():
    one = forms()["a", perturb.RENAMED]
    names = {tool.name for tool in one.task.context.tools}
    assert "weather" not in names
    assert {call.name for candidate in one.candidates for call in candidate.calls} <= names
    assert [list(c.calls[0].arguments.values()) for c in one.candidates] == [["Ulm"], ["Bonn"]]


def test_reordered_and_padded_tools_are_the_same_and_more():
    found = forms()
    assert [t.name for t in found["a", perturb.REORDERED].task.context.tools] == ["cook", "weather"]
    assert {t.name for t in found["a", perturb.PADDED].task.context.tools} == {"weather", "cook", "sing"}


def test_cut_descriptions_leave_a_parameter_of_that_name():
    tools = {tool.name: tool for tool in forms()["a", perturb.CUT].task.context.tools}
    assert tools["cook"] == Tool("cook", "", {"type": "object", "properties": {"description": {"type": "string"}}})


def test_a_form_that_a_group_cannot_take_is_counted():
    alone = perturb.perturbed([group("a", ["Ulm"], ["Bonn"])])
    assert dict(alone.facts)["forms that a group could not take"] == "2"  # no other order, nothing to add


def test_two_groups_of_one_question_are_both_counted():
    made = perturb.perturbed([GROUPS[0], GROUPS[0]])
    found = {m.name: m for m in made.metric.of_scores(made.groups, [[1.0, 0.0] for _ in made.groups])}
    assert found[perturb.PLAIN].n == found[perturb.RENAMED].n == 2


def test_accuracy_flips_and_shift_by_hand():
    def named(name, kind):
        one = GROUPS["ab".index(name)]
        return dataclasses.replace(one, task=dataclasses.replace(one.task, id=f"{name} | {kind}"))

    groups = [named(n, k) for k in (perturb.PLAIN, perturb.CUT) for n in "ab"]
    scores = [[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [2.0, 1.0]]  # a stays won and rises by 2, b flips and rises by 2
    found = {(m.part, m.name): m.value for m in perturb.measures(groups, scores)}
    assert found["overall", perturb.PLAIN] == 0.5
    assert found["overall", perturb.CUT] == 1.0
    assert found[perturb.FLIPS, perturb.CUT] == 0.5
    assert found[perturb.SHIFT, perturb.CUT] == pytest.approx(2 / 0.5)
