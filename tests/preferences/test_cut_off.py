"""An answer that its model was stopped in: no right one, no wrong one, and nothing to train on."""

from collections import Counter
from dataclasses import replace

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.preferences.cut_off import CUT_OFF, NONE_WHOLE, without_cut_off
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.preferences.recipes import Balanced, Outcome, balanced_group, outcome_group
from toolrm_jax.toolcalls.types import Call, Candidate, Choice, Context, Group, Message, Reference, Task, Tool, Verdict

TOOL = Tool("find_hotel", "", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
RIGHT = Call("find_hotel", {"city": "Oslo"})
TASK = Task("t", "s", "c", "l", Context((TOOL,), (Message("user", "A hotel in Oslo"),)), Reference((RIGHT,)))
MAKER = "model:Qwen_Qwen3-8B"
CUT = Candidate((), "", MAKER, '<tool_call>\n{"name": "find_hotel", "argum', "cut off after 9 tokens", cut=True)
WHOLE = Candidate((Call("find_hotel", {"city": "Rome"}),), "", MAKER)
GOOD = Candidate((RIGHT,), "", MAKER)


def made(recipe, answers):
    changes = Counter()
    build = outcome_group if isinstance(recipe, Outcome) else balanced_group
    return build(TASK, answers, recipe, 0, changes), changes


@pytest.mark.parametrize("recipe", [Outcome(wrong=9, mistakes=0, obfuscated=False), Balanced()], ids=repr)
def test_no_recipe_takes_it_and_each_counts_it(recipe):
    group, changes = made(recipe, [CUT, WHOLE, GOOD, replace(CUT, raw="<tool_call>")])
    assert not [candidate for candidate in group.candidates if candidate.cut]
    assert changes[CUT_OFF] == 2
    assert group == made(recipe, [WHOLE, GOOD])[0]


def test_where_a_model_was_always_stopped_the_task_is_one_without_real_answers():
    group, changes = made(Balanced(mistakes=3), [CUT])
    assert {candidate.maker.partition(":")[0] for candidate in group.candidates} == {"reference", "rule"}
    assert changes[CUT_OFF] == 1


def test_groups_of_one_source_take_none_either():
    found = make_groups([TASK], Recipe(mistakes=0, joined=0), 0, {"t": [CUT, WHOLE]})
    assert [[candidate.maker for candidate in group.candidates].count(MAKER) for group in found.groups] == [1]
    assert found.changes[CUT_OFF] == 1


def group(*candidates, choices=()):
    verdicts = tuple(Verdict(candidate == GOOD, 1.0 if candidate == GOOD else 0.0) for candidate in candidates)
    return Group(TASK, candidates, verdicts, choices)


def test_a_folder_of_graded_answers_loses_it_and_keeps_the_pairs_of_the_others():
    counts: Counter[str] = Counter()
    kept = without_cut_off(group(GOOD, CUT, WHOLE, choices=(Choice(0, 1), Choice(0, 2, True))), counts)
    assert kept == group(GOOD, WHOLE, choices=(Choice(0, 1, True),))
    assert counts == {CUT_OFF: 1}
    whole = group(GOOD, WHOLE)
    assert without_cut_off(whole, counts) is whole
    assert without_cut_off(group(CUT), counts) is None
    assert without_cut_off(group(GOOD, CUT, choices=(Choice(0, 1),)), counts) is None
    assert counts == {CUT_OFF: 3, NONE_WHOLE: 2}


def test_the_mark_is_kept_in_records_and_stands_in_none_without_it():
    assert Candidate.from_json(CUT.to_json()) == CUT
    assert CUT.to_json()["cut"] is True
    assert "cut" not in WHOLE.to_json()
    with pytest.raises(DataError, match="field 'cut' has type str"):
        Candidate.from_json({"cut": "yes"})
