"""Groups of several epochs: each has wrong answers and names of its own, and what is right in one is right in all."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.encode import encode_groups
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.preferences.recipes import Balanced, Outcome, obfuscated
from toolrm_jax.preferences.shards import decode_group, encode_group
from toolrm_jax.preferences.stage import Job, make_batch
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.types import Call, Context, Group, Message, Reference, Task, Tool

TASKS = 12
EPOCHS = 4


def task(i):
    """A task of its own functions, with two calls, whose values stand in the question."""
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["city", "days"]}
    tools = tuple(Tool(f"{name}_{i}", f"Asks for the {name}.", schema) for name in ("weather", "hotels"))
    question = Message("user", f"Weather and hotels in Town{i} and Ham{i}, {i + 2} and {i + 3} days?")
    calls = tuple(
        Call(tool.name, {"city": f"{city}{i}", "days": i + more})
        for tool, city, more in zip(tools, ("Town", "Ham"), (2, 3))
    )
    return Task(f"t{i:03}", "made", "c", "MIT", Context(tools, (question,)), Reference(calls))


JOBS = (Job(Outcome(mistakes=3, wrong=3), 0), Job(Outcome(mistakes=8, obfuscated=0.5), 3), Job(Balanced(), 0))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(JOBS),
    st.lists(st.integers(0, TASKS - 1), min_size=1, unique=True),
    st.lists(st.integers(0, EPOCHS - 1), min_size=1, unique=True),
)
def test_a_records_groups_of_an_epoch_are_the_same_whatever_is_made_beside_them(job, order, epochs):
    made = {epoch: make_batch([(task(i), ()) for i in order], job, epoch).groups for epoch in epochs}
    for epoch in epochs:
        assert len(made[epoch]) == len(order)
        for i, group in zip(order, made[epoch]):
            assert (group,) == make_batch([(task(i), ())], job, epoch).groups
            assert group.epoch == epoch


@pytest.mark.parametrize("job", JOBS, ids=lambda job: repr(job.recipe))
def test_epochs_differ_in_what_is_wrong_and_agree_in_what_is_right(job):
    items = [(task(i), ()) for i in range(TASKS)]
    by_epoch = [[plain(group) for group in make_batch(items, job, epoch).groups] for epoch in range(EPOCHS)]
    for i, groups in enumerate(zip(*by_epoch, strict=True)):
        assert len({repr(wrong(group)) for group in groups}) > 1
        assert {repr(right(group)) for group in groups} == {repr([task(i).reference.calls])}
        for group in groups:
            assert all(judge(task(i), one).right == verdict.right for one, verdict in zip(*members(group)))


def plain(group: Group) -> Group:
    """The group under its original names."""
    old = {new: name for name, new in (group.names or {}).items()}

    def renamed(calls):
        some = (Call(old.get(c.name, c.name), {old.get(k, k): v for k, v in c.arguments.items()}) for c in calls)
        return tuple(some)

    candidates = (dataclasses.replace(one, calls=renamed(one.calls)) for one in group.candidates)
    return dataclasses.replace(group, candidates=tuple(candidates))


def members(group):
    return group.candidates, group.verdicts


def right(group):
    return [one.calls for one, verdict in zip(*members(group)) if verdict.right]


def wrong(group):
    """In an order that says nothing: who is drawn first of the same wrong answers makes no other epoch."""
    return sorted(repr((one.calls, one.raw)) for one, verdict in zip(*members(group)) if not verdict.right)


def test_names_are_drawn_anew_for_every_epoch_and_lead_back():
    names = []
    for epoch in range(EPOCHS):
        (group,) = make_batch([(task(0), ())], JOBS[0], epoch).groups
        assert right(plain(group)) == [task(0).reference.calls]
        names.append(group.names)
    for name in ("weather_0", "hotels_0", "city", "days"):
        assert len({some[name] for some in names}) == EPOCHS


@given(st.integers(0, 9), st.integers(0, EPOCHS - 1), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_the_records_under_random_names_are_a_share_and_those_of_a_smaller_share_are_among_them(seed, epoch, one, more):
    low, high = sorted((one, more))
    items = [(task(i), ()) for i in range(TASKS)]
    hidden = [
        {g.task.id for g in make_batch(items, Job(Outcome(obfuscated=share), seed), epoch).groups if g.names}
        for share in (0, low, high, 1)
    ]
    assert hidden[0] <= hidden[1] <= hidden[2] <= hidden[3]
    assert (len(hidden[0]), len(hidden[3])) == (0, TASKS)


def test_a_share_is_drawn_for_each_epoch_and_near_what_was_asked_for():
    items = [(task(i), ()) for i in range(200)]
    made = [make_batch(items, Job(Outcome(obfuscated=0.3), 0), epoch).groups for epoch in (0, 1)]
    first, second = ({group.task.id for group in groups if group.names} for groups in made)
    assert first != second
    for chosen in (first, second):
        assert abs(len(chosen) - 60) < 4 * (200 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match=f"obfuscated={share}: "):
        Outcome(obfuscated=share)


def test_all_and_none_may_be_said_in_words_or_numbers():
    items = [(task(i), ()) for i in range(3)]
    for word, number in ((True, 1.0), (False, 0.0)):
        both = [make_batch(items, Job(Outcome(obfuscated=value), 0)).groups for value in (word, number)]
        assert both[0] == both[1]


def test_groups_of_one_source_have_fresh_answers_under_the_same_contexts():
    tasks = [task(i) for i in range(TASKS)]
    recipe = Recipe(right=1, mistakes=3, joined=0.5)
    made = [make_groups(tasks, recipe, 0, epoch=epoch).groups for epoch in range(EPOCHS)]
    assert made[0] == make_groups(tasks, recipe, 0).groups
    for groups in zip(*made, strict=True):
        assert [group.epoch for group in groups] == list(range(EPOCHS))
        assert len({repr(group.task) for group in groups}) == 1
        assert len({repr(wrong(group)) for group in groups}) > 1
        for group in groups:
            assert [judge(group.task, one) for one in group.candidates] == list(group.verdicts)


def test_the_epoch_stands_in_a_record_unless_it_is_the_first():
    (group,) = make_batch([(task(0), ())], JOBS[2], 2).groups
    assert encode_groups([group]) == [encode_group(group)]
    assert decode_group(encode_group(group)) == group
    assert b"epoch" not in encode_group(dataclasses.replace(group, epoch=0))
    with pytest.raises(DataError, match="epoch is -1"):
        Group.from_json(group.to_json() | {"epoch": -1})


def test_obfuscating_keeps_the_epoch():
    (group,) = make_batch([(task(0), ())], JOBS[2], 3).groups
    assert obfuscated(group, 0, Counter()).epoch == 3
