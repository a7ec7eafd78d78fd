"""Differences are relative and ranks are of one conversation; what an engine is known to do to scores is named."""

import numpy as np
import pytest

from toolrm_jax.converters.agreement import agreement, explanation
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
    seen = agreement(OURS, [np.array([1.0, -2.0, 0.5]), np.array([1.2, 1.8])])
    # The largest difference is 0.8: the pair 1.0, 0.5 stands nearer than that. Of the rest 2.0, 1.0 has turned.
    assert (seen.pairs, seen.ties) == (3, 1)
    assert seen.ordered_alike == pytest.approx(2 / 3)


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
