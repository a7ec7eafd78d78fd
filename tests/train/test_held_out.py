"""Shares of pairs in order, by source and by error type, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.train.held_out import by_kind


def group(source: str, right: tuple[bool, ...], kinds: tuple[str, ...], *pairs: tuple[int, int]) -> TokenGroup:
    answers = tuple(np.array([4 + place]) for place in range(len(right)))
    return TokenGroup("g", source, np.array([3]), answers, right, kinds, pairs=pairs)


def test_groups_of_a_source_count_alike_and_so_do_the_wrong_answers_of_a_kind():
    row = [group("a", (True, False, False), ("", "name", "value")), group("a", (True, False), ("", "name"))]
    other = [group("b", (True, True), ("", "")), group("b", (True, True, False), ("", "", "value"))]
    scores = np.array([[2.0, 1.0, 3.0, 0.0, 1.0, 9.0], [5.0, 5.0, 1.0, 2.0, 1.0, 9.0]])
    assert by_kind([row, other], scores) == {
        "correct/source/a": pytest.approx((1 / 2 + 0) / 2),
        "correct/source/b": pytest.approx(1 / 2),  # a tie is not correct, and no pair is no group
        "correct/error/name": pytest.approx((1 + 0) / 2),
        "correct/error/value": pytest.approx((0 + 1 / 2) / 2),
    }


def test_chosen_pairs_are_the_ones_that_count():
    one = group("a", (False, False, False), ("name", "value", "name"), (0, 1), (2, 1), (0, 2))
    assert by_kind([[one]], np.array([[2.0, 1.0, 0.0]])) == {
        "correct/source/a": pytest.approx(2 / 3),
        "correct/error/value": pytest.approx(1 / 2),
        "correct/error/name": pytest.approx(1.0),
    }
