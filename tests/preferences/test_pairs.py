from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.preferences.pairs import higher_over_lower, right_over_wrong
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Task, Verdict

TASK = Task("1", "made", "simple", "Apache-2.0", Context((), ()))


def group(*verdicts):
    candidates = tuple(Candidate(text=str(i)) for i in range(len(verdicts)))
    return Group(TASK, candidates, tuple(Verdict(*verdict) for verdict in verdicts))


def names(pairs):
    return [(pair.chosen.text, pair.rejected.text) for pair in pairs]


def test_every_right_candidate_stands_over_every_wrong_one():
    made = group((True, 1.0), (False, 0.5), (True, 1.0), (False, 0.0))
    assert names(right_over_wrong(made)) == [("0", "1"), ("0", "3"), ("2", "1"), ("2", "3")]


def test_a_higher_score_stands_over_a_lower_one_though_neither_be_right():
    made = group((False, 0.25), (False, 0.75), (True, 1.0), (False, 0.25))
    pairs = list(higher_over_lower(made))
    assert names(pairs) == [("1", "0"), ("1", "3"), ("2", "0"), ("2", "1"), ("2", "3")]
    assert [pair.intensity for pair in pairs] == [0.5, 0.5, 0.75, 0.25, 0.75]
    assert pairs[0].task is TASK
    assert (pairs[0].chosen_verdict, pairs[0].rejected_verdict) == (made.verdicts[1], made.verdicts[0])


def test_a_wrong_candidate_of_full_score_is_still_below_a_right_one():
    """The rule score takes one value a parameter, so it may miss what the comparison sees."""
    made = group((True, 1.0), (False, 1.0))
    assert names(right_over_wrong(made)) == [("0", "1")]
    assert names(higher_over_lower(made)) == []


@given(st.lists(st.booleans(), max_size=6))
def test_there_are_as_many_pairs_as_right_times_wrong(rights):
    pairs = list(right_over_wrong(group(*((right, float(right)) for right in rights))))
    assert len(pairs) == rights.count(True) * rights.count(False)
