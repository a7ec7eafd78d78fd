"""One task, both papers: who stands on which side, which tasks are kept, and why the others are not."""

from collections import Counter
from dataclasses import replace

import pytest

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.makers import Makers, may_train, weights_licence
from toolrm_jax.preferences.recipes import (
    NO_REFERENCE,
    NO_WRONG,
    NOT_SAMPLED,
    TOO_EASY,
    TOO_HARD,
    WITHOUT_CALL,
    Balanced,
    Left,
    Outcome,
    balanced_group,
    outcome_group,
)
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Message, Reference, Task, Tool

TOOL = Tool(
    "find_hotel",
    "Finds hotels.",
    {"type": "object", "properties": {"city": {"type": "string"}, "nights": {"type": "integer"}}, "required": ["city"]},
)
OTHER = Tool("book_taxi", "", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = Call("find_hotel", {"city": "Oslo", "nights": 3})
ASKED = (Message("user", "A hotel in Oslo for 3 nights, and a taxi in Rome"),)
TASK = Task("t", "s", "c", "l", Context((TOOL, OTHER), ASKED), Reference((CALL, Call("book_taxi", {"city": "Rome"}))))
REPLY = Task("r", "s", "c", "l", Context((TOOL, OTHER), ASKED), Reference(text="Which hotel?"))


def answer(*calls, maker="Qwen_Qwen3-8B", text=""):
    return Candidate(calls, text, f"model:{maker}")


def taxi(city):
    return Call("book_taxi", {"city": city})


RIGHT, HALF, NOTHING = answer(*TASK.reference.calls), answer(CALL, taxi("Bonn")), answer(text="Sorry")


def make(recipe, task=TASK, answers=(), seed=0):
    changes = Counter()
    build = outcome_group if isinstance(recipe, Outcome) else balanced_group
    return build(task, answers, recipe, seed, changes), changes


def test_a_task_with_some_but_not_all_answers_right_is_kept_with_the_rules_scores():
    group, changes = make(Balanced(), answers=[HALF, RIGHT, NOTHING])
    assert [c.maker for c in group.candidates] == ["reference", "model:Qwen_Qwen3-8B", "model:Qwen_Qwen3-8B"]
    assert sorted(verdict.score for verdict in group.verdicts) == [0.0, 0.5, 1.0]
    assert changes["answers like the reference"] == 1


@pytest.mark.parametrize(
    ("answers", "reason"), [([RIGHT], TOO_EASY), ([HALF, NOTHING], TOO_HARD), ([RIGHT, answer(*RIGHT.calls)], TOO_EASY)]
)
def test_all_right_is_too_easy_and_none_right_too_hard_the_reference_not_counted(answers, reason):
    assert make(Balanced(), answers=answers)[0] == Left(reason)


def test_equal_answers_are_merged_and_counted():
    again = replace(HALF, maker="model:Qwen_QwQ-32B", text=" ")
    group, changes = make(Balanced(), answers=[HALF, again, RIGHT, NOTHING])
    assert len(group.candidates) == 3
    assert changes["candidates merged"] == 1


def test_rules_stand_in_where_there_is_no_real_answer():
    group, _ = make(Balanced(mistakes=3))
    assert [c.maker.partition(":")[0] for c in group.candidates] == ["reference", "rule", "rule", "rule"]
    few, _ = make(Balanced(mistakes=4), task=REPLY)
    assert len(few.candidates) <= 1 + WITHOUT_CALL
    assert [verdict.score for verdict in few.verdicts] == [1.0] + [0.0] * (len(few.verdicts) - 1)


def test_outcome_groups_have_the_reference_and_no_more_wrong_ones_than_asked_for():
    group, _ = make(Outcome(wrong=2, mistakes=6, obfuscated=False))
    assert group.candidates[0] == Candidate(TASK.reference.calls, "", "reference")
    assert [verdict.right for verdict in group.verdicts] == [True, False, False]


def test_models_answers_and_unlike_error_types_are_preferred_among_the_wrong():
    answers = [answer(CALL, taxi(city), maker="qwen") for city in ("Bonn", "Kiel", "Ulm")]
    answers.append(answer(CALL, maker="granite"))
    for seed in range(5):
        group, _ = make(Outcome(wrong=2, mistakes=0, obfuscated=False), answers=answers, seed=seed)
        assert len({c.maker for c in group.candidates}) == 3
        assert len({v.error_type for v in group.verdicts}) == 3


def test_a_difference_in_call_order_is_none_and_one_in_letter_case_is():
    recipe = Outcome(mistakes=0, obfuscated=False)
    assert make(recipe, answers=[answer(*TASK.reference.calls[::-1])])[0] == Left(NO_WRONG)
    group, _ = make(recipe, answers=[answer(CALL, taxi("rome"))])
    assert [verdict.right for verdict in group.verdicts] == [True, False]
    listed = replace(
        TASK, reference=replace(TASK.reference, accepted=({"city": ["Oslo"], "nights": [3]}, {"city": ["Rome"]}))
    )
    assert make(recipe, task=listed, answers=[answer(CALL, taxi("rome"))])[0] == Left(NO_WRONG)


def test_an_obfuscated_group_is_judged_alike_and_keeps_the_way_back():
    plain, _ = make(Outcome(obfuscated=False, mistakes=6, wrong=6))
    hidden, changes = make(Outcome(mistakes=6, wrong=6))
    assert [c.maker for c in hidden.candidates] == [c.maker for c in plain.candidates]
    for candidate, verdict in zip(hidden.candidates, hidden.verdicts):
        again = judge(hidden.task, candidate)
        assert (again.right, again.error_type) == (verdict.right, verdict.error_type)
    text = repr(replace(hidden, names=None))
    assert not any(name in text for name in ("find_hotel", "book_taxi", "'nights'", '"nights"'))
    back = {new: old for old, new in hidden.names.items()}
    calls = [
        tuple(Call(back[call.name], {back[name]: value for name, value in call.arguments.items()}) for call in c.calls)
        for c in hidden.candidates
    ]
    assert calls == [c.calls for c in plain.candidates]
    assert changes["names left in texts"] >= 0


def test_tasks_without_a_call_are_sampled_by_their_id_alone():
    tasks = [replace(REPLY, id=f"r{i}") for i in range(200)]
    kept = [task.id for task in tasks if make(Outcome(no_call=0.3), task=task)[0] != Left(NOT_SAMPLED)]
    more = [task.id for task in tasks if make(Outcome(no_call=0.6), task=task)[0] != Left(NOT_SAMPLED)]
    assert 40 < len(kept) < 80
    assert set(kept) < set(more)
    assert make(Outcome(no_call=0.0))[0] != Left(NOT_SAMPLED)


def test_a_task_without_reference_is_left():
    assert make(Balanced(), task=replace(TASK, reference=None))[0] == Left(NO_REFERENCE)


def test_answers_train_by_the_licence_of_their_makers_weights():
    assert may_train("reference")
    assert may_train("rule:value")
    assert may_train("model:openai_gpt-oss-120b@v0.11.0")
    assert may_train("model:Qwen_Qwen3-4B-Instruct-2507")
    for closed in ("model:gpt-4o-2024-05-13", "model:claude-3-opus-20240229-FC", "model:someone-new"):
        assert weights_licence(closed) is None
        assert not may_train(closed, Makers.OPEN)
        assert may_train(closed, Makers.ALL)
    for open_only in (
        "model:meta-llama_Meta-Llama-3-8B-Instruct",
        "model:Salesforce_xLAM-7b-fc-r",
        "model:command-r-plus",
    ):
        assert not may_train(open_only)
        assert may_train(open_only, Makers.OPEN)
    group, changes = make(Balanced(), answers=[HALF, RIGHT, answer(maker="gpt-4o", text="No")])
    assert {c.maker for c in group.candidates} == {"reference", "model:Qwen_Qwen3-8B"}
    assert changes["answers of models that may not train"] == 1


@pytest.mark.parametrize("wrong", [dict(wrong=0), dict(mistakes=-1), dict(no_call=1.5), dict(turns=-1)])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Outcome(**wrong)
