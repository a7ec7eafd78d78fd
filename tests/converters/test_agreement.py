"""Differences are relative and ranks are of one conversation; what an engine is known to do to scores is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.converters.agreement import agreement, explanation, scale_of
from toolrm_jax.errors import ModelError

OURS = [np.array([1.0, -2.0, 0.5]), np.array([2.0, 1.0])]
NORMS = [np.array([3.0, 5.0, 4.0]), np.array([2.0, 6.0])]


def changed(change):
    return [change(part) for part in OURS]


def test_differences_are_relative_to_the_root_mean_square():
    seen = agreement([np.array([3.0, -4.0])], [np.array([3.0, -4.5])])
    assert seen.largest == pytest.approx(0.5 / np.sqrt(12.5))
    assert seen.median == pytest.approx(0.25 / np.sqrt(12.5))
    assert (seen.pairs, seen.ordered_alike) == (1, 1.0)


def test_only_candidates_of_one_conversation_are_ranked_and_near_ties_are_counted_apart():
    turned = [np.array([1.0, -2.0, 0.5]), np.array([1.2, 1.8])]
    seen = agreement(OURS, turned)
    assert (seen.pairs, seen.ties, seen.ordered_alike) == (4, 0, pytest.approx(3 / 4)), "2.0, 1.0 has turned"
    # The pair 1.0, 0.5 stands within two roundings of a quarter each; the root mean square is 1.43.
    seen = agreement(OURS, turned, rounding=0.26 / 1.43)
    assert (seen.pairs, seen.ties, seen.ordered_alike) == (3, 1, pytest.approx(2 / 3))
    assert agreement(OURS, turned, rounding=0.24 / 1.43).ties == 0


def test_an_engine_that_turns_every_pair_orders_none_alike():
    """However far it is off: what is a tie does not depend on the scores that are judged."""
    for scale in (1, 100):
        seen = agreement([np.array([1.0, -1.0])], [np.array([-1.0, 1.0]) * scale], rounding=1e-2)
        assert str(seen).endswith("0.0% of 1 pairs ordered alike")


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=2, max_size=5), min_size=1, max_size=4),
    st.floats(0, 0.5),
    st.randoms(),
)
def test_what_is_off_by_no_more_than_rounding_turns_no_pair(scores, rounding, random):
    ours = [np.array([1.0, *part]) for part in scores]
    off = rounding * scale_of(ours) * (1 - 1e-9)
    theirs = [part + [random.uniform(-off, off) for _ in part] for part in ours]
    seen = agreement(ours, theirs, rounding)
    assert seen.ordered_alike == (1 if seen.pairs else 0)


def test_equal_scores_agree_wholly():
    seen = agreement(OURS, OURS)
    assert (seen.largest, seen.median, seen.ordered_alike, seen.pairs) == (0.0, 0.0, 1.0, 4)
    assert str(seen) == "largest difference 0.0e+00, median 0.0e+00, 100.0% of 4 pairs ordered alike"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ModelError, match="score 4 of the engine is nan"):
        agreement(OURS, [OURS[0], np.array([2.0, np.nan])])
    with pytest.raises(ModelError, match="every score is zero"):
        agreement([np.zeros(2)], [np.zeros(2)])


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (changed(lambda x: 1 / (1 + np.exp(-x))), "it puts a sigmoid on the score"),
        (changed(np.ones_like), "softmax over the one output"),
        (changed(np.sign), "normalises the score to length one"),
        ([a / n for a, n in zip(OURS, NORMS)], "normalises the hidden state before the head"),
        (changed(lambda x: x - 0.7), r"ours and -0\.7: it adds a bias"),
    ],
)
def test_a_known_trap_is_named(theirs, says):
    import re

    assert re.search(says, explanation(OURS, theirs, NORMS))


@pytest.mark.parametrize("theirs", [OURS, changed(lambda x: x * 1.001), changed(lambda x: x + 1e-4 * np.sin(9 * x))])
def test_rounding_is_not_explained_as_a_trap(theirs):
    assert explanation(OURS, theirs, NORMS) == ""


def test_scores_of_another_model_are_not_explained():
    assert explanation(OURS, [np.array([0.3, 0.1, 2.0]), np.array([-1.0, 4.0])], NORMS) == ""
