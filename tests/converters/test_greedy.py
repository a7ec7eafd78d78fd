"""Where greedy tokens part, and by how much: on logits made by hand."""

import numpy as np
import pytest

from toolrm_jax.converters.greedy import gap_change, parting, spread

LOGITS = np.array([[0.0, 3.0, 1.0], [2.0, 1.5, 0.0], [0.0, 0.0, 5.0]], np.float32)


def test_the_first_token_that_is_not_the_best_is_found_with_its_gap():
    assert parting(7, LOGITS, [1, 0, 2]) is None
    one = parting(7, LOGITS, [1, 1, 0])
    assert (one.prompt, one.at, one.ours, one.theirs) == (7, 1, 0, 1)
    assert one.gap == pytest.approx(0.5)
    assert str(one) == "prompt 7, token 1: 1 for 0, 5.0e-01 below it"


def test_rounding_is_measured_between_the_two_best():
    rounded = LOGITS + np.array([[9, 0.25, 0], [1, 1, 1], [0, 0, 0]], np.float32)
    assert gap_change(LOGITS, rounded) == pytest.approx(0.25)
    assert gap_change(LOGITS, LOGITS) == 0


def test_spread_is_the_largest_standard_deviation_of_a_position():
    assert spread(LOGITS) == pytest.approx(float(np.std([0, 0, 5])))
