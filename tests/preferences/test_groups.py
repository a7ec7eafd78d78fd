import json
import random
from dataclasses import replace

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences import groups as module
from toolrm_jax.preferences import partners
from toolrm_jax.preferences.groups import Recipe, make_groups, trim_tools
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.render import render_hermes
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Message, Reference, Task, Tool


def tool(name):
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}}
    return Tool(name, f"Does {name}.", {"type": "object", "properties": properties, "required": ["city", "days"]})


def task(i, tools=3):
    """A task of its own function `f<i>`, on offer among `tools` ones, with the answer in the question."""
    offered = tuple(tool(f"f{i + k}") for k in range(tools))
    question = Message("user", f"What is it like in Town{i} over {i + 2} days?")
    reference = Reference((Call(f"f{i}", {"city": f"Town{i}", "days": i + 2}),))
    return Task(f"t{i:03}", "made", "simple", "Apache-2.0", Context(offered, (question,)), reference)


def answer(i, days, maker, name=None):
    return Candidate((Call(name or f"f{i}", {"city": f"Town{i}", "days": days}),), maker=f"model:{maker}")


ALONE = Recipe(joined=0)


def test_every_group_has_both_sides_and_the_judges_verdicts():
    made = make_groups(map(task, range(12)), Recipe(right=2, mistakes=4, joined=0.5), seed=0)
    assert len(made.groups) == 12
    assert made.drops == {}
    for group in made.groups:
        assert {verdict.right for verdict in group.verdicts} == {True, False}
        assert [judge(group.task, one) for one in group.candidates] == list(group.verdicts)
        assert len(set(map(candidate_key, group.candidates))) == len(group.candidates)
        assert sum(not verdict.right for verdict in group.verdicts) == 4


def test_the_order_of_arrival_changes_nothing_and_the_seed_does():
    tasks = [task(i) for i in range(12)]
    made = make_groups(tasks, Recipe(), seed=0)
    shuffled = random.Random(1).sample(tasks, len(tasks))
    assert make_groups(shuffled, Recipe(), seed=0) == made
    assert make_groups(tasks, Recipe(), seed=1).groups != made.groups


def test_the_order_of_real_answers_changes_nothing():
    answers = [answer(0, days, f"m{days}") for days in range(3, 9)]
    one = make_groups([task(0)], ALONE, 0, {"t000": answers})
    assert one == make_groups([task(0)], ALONE, 0, {"t000": answers[::-1]})


def test_a_task_without_reference_and_one_without_a_wrong_answer_are_dropped_by_name():
    tasks = [task(0), replace(task(1), reference=None)]
    made = make_groups(tasks, Recipe(mistakes=0, joined=0), 0)
    assert made.groups == ()
    assert made.drops == {"no reference": 1, "no wrong candidate": 1}


def test_a_right_answer_the_judge_finds_wrong_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "right_variants", lambda task, seed, count: (answer(0, 99, "bad"),))
    made = make_groups([task(0)], ALONE, 0)
    assert made.groups == ()
    assert made.drops == {"no right candidate": 1}
    assert made.changes == {"doubtful candidates": 1}
    monkeypatch.setattr(
        module, "right_variants", lambda task, seed, count: (answer(0, 99, "bad"), answer(0, 2, "good"))
    )
    makers = [one.maker for one in make_groups([task(0)], Recipe(right=2, joined=0), 0).groups[0].candidates]
    assert "model:good" in makers
    assert "model:bad" not in makers


def test_equal_right_variants_do_not_use_up_the_places(monkeypatch):
    plain, spoken = answer(0, 2, "a"), replace(answer(0, 2, "b"), text="Here:")
    monkeypatch.setattr(module, "right_variants", lambda task, seed, count: (plain, plain, plain, spoken))
    for seed in range(5):
        group = make_groups([task(0)], Recipe(right=2, joined=0), seed).groups[0]
        assert {one.text for one, verdict in zip(group.candidates, group.verdicts) if verdict.right} == {"", "Here:"}


def test_a_mistake_the_judge_finds_right_is_left_out(monkeypatch):
    mistakes = (Candidate((Call("f0", {"days": 2, "city": " town0"}),)), answer(0, 99, "bad"), Candidate())
    monkeypatch.setattr(module, "right_variants", lambda task, seed, count: (answer(0, 2, "good"),))
    monkeypatch.setattr(module, "make_mistakes", lambda task, seed, count, epoch, neighbours: mistakes)
    made = make_groups([task(0)], ALONE, 0)
    assert made.groups[0].candidates == (answer(0, 2, "good"), *mistakes[1:])
    assert made.changes == {"candidates merged": 1}
    extra = replace(mistakes[0], text="Here:")  # not equal to the right one, so not merged, but right as well
    monkeypatch.setattr(module, "make_mistakes", lambda task, seed, count, epoch, neighbours: (extra, *mistakes[1:]))
    made = make_groups([task(0)], ALONE, 0)
    assert made.groups[0].candidates == (answer(0, 2, "good"), *mistakes[1:])
    assert made.changes == {"doubtful candidates": 1}


def test_a_faulty_task_is_a_counted_drop_or_an_error_if_strict(monkeypatch):
    real = module.make_mistakes

    def faulty(task, seed, count, epoch, neighbours):
        if task.id == "t001":
            raise DataError("t001: bad")
        return real(task, seed, count, epoch=epoch, neighbours=neighbours)

    monkeypatch.setattr(module, "make_mistakes", faulty)
    made = make_groups([task(0), task(1)], ALONE, 0)
    assert [group.task.id for group in made.groups] == ["t000"]
    assert made.drops == {"faulty task": 1}
    with pytest.raises(DataError, match="t001: bad"):
        make_groups([task(0), task(1)], ALONE, 0, strict=True)


def real_members(answers, recipe, seed):
    """The real candidates of the group made of task 0 and these answers: (maker, verdict)."""
    group = make_groups([task(0)], recipe, seed, {"t000": answers}).groups[0]
    return [pair for pair in zip(group.candidates, group.verdicts) if pair[0].maker.startswith("model:")]


def test_real_answers_equal_to_one_there_are_merged():
    with_text = Candidate((Call("f0", {"city": "TOWN0", "days": 2}),), maker="model:b", text="Sure:")
    answers = [answer(0, 2, "a"), with_text, answer(0, 9, "c"), answer(0, 9, "d")]
    members = real_members(answers, Recipe(real_right=9, real_wrong=9, joined=0), 0)
    assert [(one.maker, verdict.right) for one, verdict in members] == [("model:b", True), ("model:c", False)]


@pytest.mark.parametrize("seed", range(6))
def test_of_many_real_wrong_answers_those_of_unlike_makers_and_error_types_are_taken(seed):
    answers = [answer(0, days, "a") for days in range(20, 40)]
    answers += [answer(0, 2, "b", name="f1"), Candidate(raw="f0(", fault="no closing bracket", maker="model:c")]
    members = real_members(answers, Recipe(real_wrong=3, joined=0), seed)
    assert {one.maker for one, _ in members} == {"model:a", "model:b", "model:c"}
    assert {verdict.error_type for _, verdict in members} == {ErrorType.VALUE, ErrorType.NAME, ErrorType.FORMAT}


def test_candidates_are_equal_by_what_they_call_and_say():
    base = Candidate((Call("f", {"a": 1, "b": "X"}),), text=" hi ")
    assert candidate_key(base) == candidate_key(Candidate((Call("f", {"b": "x ", "a": 1.0}),), text="hi", maker="z"))
    assert candidate_key(base) != candidate_key(replace(base, text="ho"))
    assert candidate_key(base) != candidate_key(replace(base, calls=base.calls * 2))
    broken = Candidate(raw="f(", fault="no closing bracket")
    assert candidate_key(broken) == candidate_key(replace(broken, fault="cut short", raw="f( "))
    assert candidate_key(broken) != candidate_key(replace(broken, raw="g("))
    assert candidate_key(broken) != candidate_key(Candidate(text="f("))


def test_the_right_candidate_is_the_reference_about_as_often_as_any_variant():
    """So that its form does not tell right from wrong: mistakes start from variants as well."""
    with_optional = replace(task(0).context.tools[0], parameters={**tool("f0").parameters, "required": ["city"]})
    tasks = []
    for i in range(60):
        accepted = ({"city": [f"Town{i}", f"Town{i}, X"], "days": [i + 2, ""]},)
        context = Context((replace(with_optional, name=f"f{i}"),), task(i).context.messages)
        tasks.append(replace(task(i), context=context, reference=replace(task(i).reference, accepted=accepted)))
    groups = make_groups(tasks, Recipe(joined=0), 0).groups
    first = [group.candidates[0].maker == "reference" for group in groups]
    assert 0.2 < sum(first) / len(first) < 0.6
    assert all(group.verdicts[0].right and not group.verdicts[1].right for group in groups)


def test_a_task_without_calls_gets_replies_in_words_and_is_never_joined():
    tasks = [replace(task(i), reference=Reference()) for i in range(20)]
    made = make_groups([*tasks, task(50), task(60)], Recipe(joined=1), 0)
    assert made.changes["tasks joined"] == 2
    without = [group for group in made.groups if not group.task.reference.calls]
    assert len(without) == 20
    for group in without:
        for candidate, verdict in zip(group.candidates, group.verdicts):
            assert verdict.right == (not candidate.calls)
    assert len({group.candidates[0].text for group in without}) > 3


def test_a_real_answer_nested_too_deep_is_left_out_alone():
    deep = {}
    for _ in range(100):
        deep = {"a": deep}
    answers = [Candidate((Call("f0", deep),), maker="model:a"), answer(0, 9, "b")]
    made = make_groups([task(0)], ALONE, 0, {"t000": answers})
    assert made.changes == {"candidates nested too deep": 1}
    assert answers[1] in made.groups[0].candidates


def test_the_asked_share_of_tasks_stands_joined():
    tasks = [task(5 * i) for i in range(100)]
    made = make_groups(tasks, Recipe(joined=0.4), 0)
    joined = [group for group in made.groups if len(group.task.reference.calls) > 1]
    assert len(made.groups) == 100
    assert made.changes["tasks joined"] == len(joined)
    assert 28 <= len(joined) <= 52  # 0.4 of 100, 2.5 standard deviations
    every = make_groups(tasks, Recipe(joined=1), 0)
    calls = [len(group.task.reference.calls) for group in every.groups]
    assert set(calls) == {2, 3}
    assert every.changes["third tasks joined"] == calls.count(3)
    assert 20 <= calls.count(3) <= 50  # THIRD of 100
    assert all(len(g.task.reference.calls) == 1 for g in make_groups(tasks, ALONE, 0).groups)


def test_in_a_joined_task_a_real_answer_stands_among_the_right_calls_of_the_other_parts():
    tasks = [task(5 * i) for i in range(6)]
    wrong, text = answer(0, 9, "a"), Candidate((), "I cannot do that.", "model:b")
    made = make_groups(tasks, Recipe(joined=1, mistakes=0), 0, {"t000": [wrong, text]})
    references = {one.id: one.reference.calls for one in tasks}
    found = 0
    for group in made.groups:
        parts = group.task.id.split("+")
        for candidate, verdict in zip(group.candidates, group.verdicts):
            if not verdict.right:
                instead = {"model:a": wrong.calls, "model:b": ()}[candidate.maker]
                calls = [call for part in parts for call in (instead if part == "t000" else references[part])]
                assert list(candidate.calls) == calls
                assert candidate.text == ""
                found += 1
    assert found >= 2


def test_a_task_joined_with_two_others_has_three_unlike_parts():
    made = make_groups([replace(task(i % 20), id=f"u{i:03}") for i in range(40)], Recipe(joined=1), seed=0)
    assert all(len(set(parts)) == len(parts) for parts in (group.task.id.split("+") for group in made.groups))


def test_half_of_the_joins_look_first_for_a_partner_with_the_same_tools():
    tasks = [replace(task(i % 20), id=f"u{i:03}") for i in range(40)]
    made = make_groups(tasks, Recipe(joined=1), seed=0)
    # The first two calls are those of the task and its partner; a third one is drawn from what was left.
    same = [len({call.name for call in group.task.reference.calls[:2]}) == 1 for group in made.groups]
    assert len(same) == 40
    assert 0.3 < sum(same) / 40 < 0.8


def text_of(group):
    answers = (one.raw or render_hermes(one.calls, one.text) for one in group.candidates)
    return len(json.dumps(group.task.context.to_json(), ensure_ascii=False)) + sum(map(len, answers))


def test_a_group_over_the_limit_loses_answers_and_at_last_its_place():
    def made(limit):
        return make_groups([task(0)], Recipe(right=2, mistakes=6, joined=0, max_characters=limit), seed=0)

    (whole,) = made(None).groups
    size = text_of(whole)
    assert made(size).groups == (whole,)
    smaller = made(size - 1)
    (group,) = smaller.groups
    assert group.candidates == whole.candidates[:-1]
    assert smaller.changes["answers left out for length"] == 1
    limits = range(size, 0, -20)
    kept = [found.groups[0] for limit in limits if (found := made(limit)).groups]
    assert all(text_of(group) <= limit for group, limit in zip(kept, limits))
    assert {verdict.right for verdict in kept[-1].verdicts} == {True, False}
    assert len(kept[-1].candidates) == 2
    assert made(100).drops == {"too long": 1}


def test_a_refused_join_is_counted_and_the_task_stays_alone(monkeypatch):
    def refuse(first, second):
        raise DataError("no")

    monkeypatch.setattr(partners, "join", refuse)
    made = make_groups(map(task, range(3)), Recipe(joined=1), 0)
    assert [group.task.id for group in made.groups] == ["t000", "t001", "t002"]
    assert made.changes["joins refused"] == 6  # each of three tasks asked both others
    assert "tasks joined" not in made.changes


def test_mistakes_may_borrow_from_the_tools_of_other_tasks_only(monkeypatch):
    borrowed = []

    def spy(task, seed, count, epoch, neighbours):
        borrowed.append((task, neighbours))
        return (Candidate(),)

    monkeypatch.setattr(module, "make_mistakes", spy)
    make_groups(map(task, range(6)), Recipe(joined=0, neighbours=2), 0)
    assert any(neighbours for _, neighbours in borrowed)
    for one, neighbours in borrowed:
        assert not {tool.name for tool in neighbours} & {tool.name for tool in one.context.tools}


def test_trimming_keeps_what_is_needed_and_the_order():
    many = task(0, tools=20)
    history = (Message("assistant", calls=(Call("f11", {}),)), *many.context.messages)
    many = replace(many, context=Context(many.context.tools, history), reference=Reference((Call("f17", {}),)))
    trimmed = trim_tools(many, 5, seed=0)
    names = [tool.name for tool in trimmed.context.tools]
    assert len(names) == 5
    assert {"f11", "f17"} <= set(names)
    assert names == [tool.name for tool in many.context.tools if tool.name in names]
    assert replace(trimmed, context=many.context) == many
    assert trim_tools(many, 5, seed=0) == trimmed
    assert len({tuple(t.name for t in trim_tools(many, 5, seed).context.tools) for seed in range(9)}) > 1


def test_trimming_stops_at_the_needed_ones_and_leaves_short_contexts_alone():
    many = replace(task(0, tools=9), reference=Reference(tuple(Call(f"f{i}", {}) for i in (1, 4, 7))))
    assert [tool.name for tool in trim_tools(many, 2, seed=0).context.tools] == ["f1", "f4", "f7"]
    assert trim_tools(many, 9, seed=0) is many


def test_trimming_keeps_the_named_tools_before_others():
    for seed in range(9):
        trimmed = trim_tools(task(0, tools=20), 3, seed, keep={"f8", "f9", "absent"})
        assert [tool.name for tool in trimmed.context.tools] == ["f0", "f8", "f9"]


def test_trimmed_contexts_are_counted():
    made = make_groups([task(0, tools=20), task(40, tools=3)], Recipe(joined=0, max_tools=4), 0)
    assert [len(group.task.context.tools) for group in made.groups] == [4, 3]
    assert made.changes["contexts trimmed"] == 1


@pytest.mark.parametrize(
    ("field", "value"), [("right", 0), ("max_tools", 0), ("mistakes", -1), ("joined", 1.5), ("joined", -0.1)]
)
def test_a_recipe_out_of_range_is_refused(field, value):
    with pytest.raises(ConfigError, match=f"{field}={value}"):
        Recipe(**{field: value})
