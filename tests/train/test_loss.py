"""The loss, held against sums worked out by hand and by loops."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.train.loss import LossWeights, ranking_sums, right_answer_tokens, token_error_sum


def group(rights: list[bool], name: str = "g") -> TokenGroup:
    answers = tuple(np.array([5, 6 + index, 2]) for index in range(len(rights)))
    return TokenGroup(name, "made", np.array([1, 3]), answers, tuple(rights), ("",) * len(rights))


def rows_of(*groups: TokenGroup):
    return stack([lay_out(groups, sum(g.size for g in groups) + 3, 16)])


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def test_one_pair_is_bradley_terry_with_centring():
    rows = rows_of(group([True, False]))
    scores = jnp.zeros((1, 16)).at[0, 0].set(1.5).at[0, 1].set(-0.5)
    sums = ranking_sums(scores, rows)
    assert float(sums["groups"]) == 1
    assert float(sums["ranking"]) == pytest.approx(-math.log(1 / (1 + math.exp(-2.0))), rel=1e-6)
    assert float(sums["centring"]) == pytest.approx((1.5 - 0.5) ** 2)
    assert (float(sums["correct"]), float(sums["margin"])) == (1, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=3), st.integers(0, 2**31))
def test_groups_weigh_alike_whatever_their_number_of_answers(verdicts, seed):
    rows = rows_of(*(group(rights) for rights in verdicts))
    scores = np.random.default_rng(seed).normal(size=(1, 16)).astype(np.float32)
    total, centring, correct, groups, slot = 0.0, 0.0, 0.0, 0, 0
    for rights in verdicts:
        mine = scores[0, slot : slot + len(rights)].tolist()
        slot += len(rights)
        pairs = [(r, w) for r, a in zip(mine, rights) if a for w, b in zip(mine, rights) if not b]
        if pairs:
            groups += 1
            total += sum(softplus(w - r) for r, w in pairs) / len(pairs)
            centring += sum((r + w) ** 2 for r, w in pairs) / len(pairs)
            correct += sum(r > w for r, w in pairs) / len(pairs)
    sums = ranking_sums(jnp.asarray(scores), rows)
    found = [float(sums[name]) for name in ("groups", "ranking", "centring", "correct")]
    assert found == pytest.approx([groups, total, centring, correct], rel=1e-5, abs=1e-5)


def test_a_tie_is_not_correct():
    assert float(ranking_sums(jnp.zeros((1, 16)), rows_of(group([True, False, False])))["correct"]) == 0


def test_token_error_asks_of_each_token_whether_the_answer_is_still_right():
    rows = rows_of(group([True, False]))  # answers 5 6 2 (right) and 5 7 2 (wrong from its second token)
    labels = np.asarray(rows.still_right[0])
    assert labels.tolist() == [-1, -1, 1, 1, 1, 1, 0, 0, -1, -1, -1]
    rewards = jnp.asarray(np.random.default_rng(0).normal(size=labels.shape)[None])
    right = np.mean([softplus(-float(r)) for r, y in zip(rewards[0], labels) if y == 1])
    wrong = np.mean([softplus(float(r)) for r, y in zip(rewards[0], labels) if y == 0])
    assert float(token_error_sum(rewards, rows, jnp.asarray(3.0))) == pytest.approx(3 * (right + wrong) / 2, rel=1e-6)


def test_the_next_token_loss_is_on_right_answers_alone():
    rows = rows_of(group([False, True]), group([True, True, False]))
    chosen = np.asarray(right_answer_tokens(rows)[0])
    expected = [(g, r) in {(1, 2), (2, 1), (2, 2)} for g, r in zip(rows.group[0], rows.response[0])]
    assert chosen.tolist() == expected


def test_centring_is_paper_as_by_default():
    assert LossWeights() == LossWeights(centring=0.01, token_error=0.0, next_token=0.0)
