"""Paper B's rule score: method.md 3.2 and section 4, items 1 to 8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.toolcalls.score import Scored, rule_score
from toolrm_jax.toolcalls.types import Call, Candidate


def f(**arguments):
    return Call("f", arguments)


def g(**arguments):
    return Call("g", arguments)


@pytest.mark.parametrize(
    ("candidate", "reference", "score", "reason"),
    [
        ([f(x=1)], [f(x=1)], 1.0, "scored"),
        ([f(x=1)], [f(x=2)], 0.0, "scored"),
        ([f(x=1, y=2)], [f(x=1)], 1 / 2, "scored"),
        ([f(x=1)], [f(x=1, y=2)], 1 / 2, "scored"),
        ([f(x=1, y=3)], [f(x=1, z=2)], 1 / 3, "scored"),
        ([g(x=1)], [f(x=1)], 0.0, "scored"),
        ([f()], [f()], 1.0, "scored"),
        ([f()], [f(x=1)], 0.0, "scored"),
        ([f(x=" A")], [f(x="a")], 1.0, "scored"),
        ([f(x=True)], [f(x=1)], 0.0, "scored"),
        ([f(x={"a": 1, "b": 2})], [f(x={"a": 1, "b": 3})], 0.0, "scored"),
        ([g(y=2), f(x=1)], [f(x=1), g(y=2)], 1.0, "scored"),
        ([f(x=1), g(y=3)], [f(x=1), g(y=2)], 1 / 2, "scored"),
        ([], [f()], 0.0, "count_mismatch"),
        ([f(), f()], [f()], 0.0, "count_mismatch"),
        ([f(x=1), f(x=1.0)], [f(x=1), f(x=2)], 0.0, "duplicate_call"),
        ([], [], 1.0, "scored"),
        ([f()], [], 0.0, "count_mismatch"),
    ],
)
def test_score_by_hand(candidate, reference, score, reason):
    assert rule_score(candidate, reference) == Scored(pytest.approx(score), reason)


def test_two_reference_calls_may_match_the_same_candidate_call():
    """Not one to one: the f serves both, so the other candidate call is never looked at."""
    assert rule_score([f(x=1, y=1), g()], [f(x=1, y=1), f(x=1, y=2)]).score == pytest.approx((1 + 1 / 2) / 2)


def test_a_candidate_that_could_not_be_parsed_scores_nothing():
    broken = Candidate(raw="<tool_call>{", fault="block 1: not JSON")
    assert rule_score(broken, [f()]) == Scored(0.0, "parse_error")
    assert rule_score(broken, []) == Scored(0.0, "parse_error")


def test_text_beside_calls_is_ignored_and_text_alone_counts_as_no_call():
    assert rule_score(Candidate((f(x=1),), "Let me see."), [f(x=1)]).score == 1.0
    assert rule_score(Candidate((), "f(x=1)"), [f(x=1)]).reason == "count_mismatch"
    assert rule_score(Candidate((), "No tool fits."), []).score == 1.0


def test_folding_of_case_can_be_turned_off():
    assert rule_score([f(x="A")], [f(x="a")], fold_case=False).score == 0.0
    assert rule_score([f(x="a"), f(x="A")], [f(x="a"), f(x="A")], fold_case=False).score == 1.0
    assert rule_score([f(x="a"), f(x="A")], [f(x="a"), f(x="A")]).reason == "duplicate_call"


calls = st.lists(
    st.builds(Call, st.sampled_from("fg"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2))), max_size=3
)


@given(calls, calls)
def test_score_is_the_published_rule_spelt_out(candidate, reference):
    if len(candidate) != len(reference):
        expected = Scored(0.0, "count_mismatch")
    elif any(candidate[i] == candidate[j] for i in range(len(candidate)) for j in range(i)):
        expected = Scored(0.0, "duplicate_call")
    elif not reference:
        expected = Scored(1.0, "scored")
    else:
        total = 0.0
        for wanted in reference:
            best = 0.0
            for given in candidate:
                if given.name != wanted.name:
                    continue
                keys = set(given.arguments) | set(wanted.arguments)
                same = [k for k in keys if given.arguments.get(k, "none") == wanted.arguments.get(k, "missing")]
                best = max(best, len(same) / len(keys) if keys else 1.0)
            total += best
        expected = Scored(pytest.approx(total / len(reference)), "scored")
    assert rule_score(candidate, reference) == expected
