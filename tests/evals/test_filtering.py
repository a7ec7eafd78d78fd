"""Filtering keeps the best, as many at random, and all; a task has one answer, and nothing is chosen by its label."""

import dataclasses

import pytest

from tests.evals.making import group
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.filtering import ALL, RANDOM, TOP, PolicyResult, policy_result, select, single_answers
from toolrm_jax.toolcalls.types import Call, Reference


def test_the_reference_is_the_answer_else_the_first_right_one_else_the_task_is_left_out():
    plain = group("a", ["Ulm"], ["Bonn"])
    known = dataclasses.replace(plain, task=dataclasses.replace(plain.task, reference=Reference((Call("x", {}),))))
    found = single_answers([known, plain, group("b", [], ["Bonn"])])
    assert [one.candidates[0].calls[0].name for one in found] == ["x", "weather"]
    assert all(len(one.candidates) == 1 for one in found)


def test_top_random_and_all_by_hand():
    groups = [group(str(k), ["Ulm"], []) for k in range(6)]
    scores = [[float(value)] for value in (3, 1, 5, 0, 5, 2)]
    top, drawn, everything = select(groups, scores, 3)
    assert (top.name, drawn.name, everything.name) == (TOP, RANDOM, ALL)
    assert [g.task.id for g in top.groups] == ["0", "2", "4"]  # in the order they came
    assert top.mean_score == pytest.approx(13 / 3)
    assert len(drawn.groups) == 3
    assert drawn == select(groups, scores, 3)[1]
    assert len(everything.groups) == 6
    assert everything.sources == {"test": 6}


def test_a_policys_accuracy_is_the_mean_over_contexts_of_the_share_of_right_answers():
    def answered(name, right, wrong):
        one = group(name, ["Ulm"], ["Bonn"])
        counts = zip(one.candidates, (right, wrong))
        return dataclasses.replace(one, candidates=tuple(dataclasses.replace(c, count=n) for c, n in counts))

    found = policy_result("top", [answered("a", 3, 1), answered("b", 1, 1), group("c", [], ["Bonn"])])
    assert (found.accuracy.value, found.accuracy.n) == (pytest.approx((0.75 + 0.5 + 0) / 3), 3)
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    assert PolicyResult.from_json(found.to_json()) == found


@pytest.mark.parametrize("keep", [0, 6, 7])
def test_a_number_that_filters_nothing_is_told(keep):
    groups = [group(str(k), ["Ulm"], []) for k in range(6)]
    with pytest.raises(ConfigError, match="from 1 to 5"):
        select(groups, [[0.0]] * 6, keep)
