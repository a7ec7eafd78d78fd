"""Accuracy over right × wrong pairs: strict, with Wilson intervals, by key, and judge against judge."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import metrics
from toolrm_jax.evals.metrics import Outcome
from toolrm_jax.toolcalls.types import Candidate, Context, ErrorType, Group, Task, Verdict


def group(name, *right, kind=ErrorType.VALUE):
    """A group whose candidates are right (True) or wrong (False)."""
    task = Task(name, "test", "simple", "none", Context((), ()))
    verdicts = tuple(Verdict(flag, float(flag), None if flag else kind) for flag in right)
    return Group(task, tuple(Candidate(text=str(k)) for k in range(len(right))), verdicts)


def pair(task, right, wrong, kind=ErrorType.VALUE, category="simple"):
    return Outcome(task, category, kind, right, wrong)


def test_a_pair_is_won_only_by_a_strictly_higher_score():
    found = metrics.accuracy([pair("a", 2, 1), pair("b", 1, 1), pair("c", 0, 1), pair("d", 1, 0)])
    assert (found.value, found.ties, found.pairs, found.tasks) == (0.5, 0.25, 4, 4)
    assert found.ties_halved == 0.625


def test_every_right_candidate_meets_every_wrong_one_whatever_their_order():
    found = metrics.outcomes([group("a", False, True, True, False)], [[3.0, 4.0, 1.0, 2.0]])
    assert [(o.right_score, o.wrong_score) for o in found] == [(4, 3), (4, 2), (1, 3), (1, 2)]


def test_groups_without_a_right_or_a_wrong_candidate_give_no_pairs():
    assert metrics.outcomes([group("a", True, True), group("b", False)], [[1, 2], [3]]) == ()
    assert metrics.accuracy([]) is None


@pytest.mark.parametrize("scores", [[], [[1.0]], [[1.0, math.nan]], [[math.inf, 0.0]]])
def test_scores_of_another_shape_or_not_finite_are_refused(scores):
    with pytest.raises(DataError):
        metrics.outcomes([group("a", True, False)], scores)


def test_averages_over_pairs_and_over_groups_differ_where_groups_do():
    pairs = [pair("a", 1, 0), pair("b", 0, 1), pair("b", 0, 2), pair("b", 0, 3)]
    assert metrics.accuracy(pairs, by="pairs").value == 0.25
    assert metrics.accuracy(pairs, by="groups").value == 0.5


def test_wilson_gives_the_published_interval():
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662, and 0 of 20 gives 0 to 0.1611.
    assert metrics.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_many_pairs_of_one_task_do_not_narrow_the_interval():
    one = [pair(str(task), 1, task % 2) for task in range(20)]
    assert metrics.accuracy(one * 9).low == pytest.approx(metrics.accuracy(one).low)
    assert metrics.accuracy(one * 9).pairs == 180


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_the_share_and_stays_within_0_and_1(won, lost):
    low, high = metrics.wilson(won / (won + lost), won + lost)
    assert 0 <= low <= won / (won + lost) + 1e-12
    assert won / (won + lost) - 1e-12 <= high <= 1


def test_a_table_splits_the_pairs_by_key_largest_first():
    pairs = [pair("a", 1, 0, ErrorType.TYPE), pair("b", 0, 1), pair("c", 1, 0), pair("d", 1, 0, None)]
    rows = metrics.table(pairs, metrics.error_type)
    assert list(rows) == ["incorrect parameter value", "incorrect parameter type"]
    assert [row.value for row in rows.values()] == [0.5, 1.0]
    assert list(metrics.table(pairs, metrics.category)) == ["simple"]


def test_wrong_number_pairs_can_be_left_out():
    pairs = [pair("a", 1, 0, ErrorType.NUMBER), pair("b", 1, 0)]
    assert metrics.without_numbers(pairs) == (pairs[1],)


def test_the_difference_of_two_judges_is_paired_and_its_p_is_mcnemars():
    # 8 tasks where only the first is right, 2 where only the second is: exact p = 2 (1 + 10 + 45) / 1024.
    first = [pair(str(k), 1, 0 if k < 18 else 2) for k in range(20)]
    second = [pair(str(k), 1, 0 if k >= 8 else 2) for k in range(20)]
    found = metrics.compare(first, second)
    assert (found.better, found.worse, found.tasks) == (8, 2, 20)
    assert found.p == pytest.approx(112 / 1024)
    assert found.difference == pytest.approx(0.3)
    assert found.low < 0.3 < found.high
    # standard error of the mean of 8 ones, 2 minus ones and 10 zeros over 20 tasks: 0.144
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.144, rel=0.15)


def test_a_tie_is_worth_half_in_a_comparison():
    found = metrics.compare([pair("a", 1, 0)], [pair("a", 1, 1)])
    assert found.difference == 0.5


def test_a_judge_is_level_with_itself():
    pairs = [pair(str(k), k % 3, 1) for k in range(30)]
    found = metrics.compare(pairs, pairs)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_judges_of_different_pairs_cannot_be_compared():
    with pytest.raises(ConfigError, match="different pairs"):
        metrics.compare([pair("a", 1, 0)], [pair("b", 1, 0)])
    with pytest.raises(ConfigError, match="different pairs"):
        metrics.compare([pair("a", 1, 0)], [pair("a", 1, 0, ErrorType.TYPE)])
    with pytest.raises(ConfigError, match="no pairs"):
        metrics.compare([], [])


def test_outcomes_survive_json():
    one = pair("a", 1.5, -2.0)
    assert Outcome.from_json(one.to_json()) == one
