"""The loss, held against sums worked out by hand and by loops."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ConfigError
from toolrm_jax.train.loss import (
    LossWeights,
    Sums,
    count,
    next_token_at,
    predicted_context_tokens,
    ranking_sums,
    right_answer_tokens,
    token_error_sums,
    total_loss,
)


def group(rights: list[bool], name: str = "g") -> TokenGroup:
    answers = tuple(np.array([5, 6 + index, 2]) for index in range(len(rights)))
    return TokenGroup(name, "made", np.array([1, 3]), answers, tuple(rights), ("",) * len(rights))


def rows_of(*groups: TokenGroup, length: int = 0):
    return stack([lay_out(groups, length or sum(g.size for g in groups) + 3, 16)])


compiled = jax.jit(lambda scores, rows: (ranking_sums(scores, rows), count(rows)))


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def test_one_pair_is_bradley_terry_with_centring():
    rows = rows_of(group([True, False]), length=64)
    scores = np.zeros((1, 16), np.float32)
    scores[0, :2] = 1.5, -0.5
    sums, counts = compiled(scores, rows)
    assert float(counts.groups) == 1
    assert float(sums["ranking"]) == pytest.approx(-math.log(1 / (1 + math.exp(-2.0))), rel=1e-6)
    assert float(sums["centring"]) == pytest.approx((1.5 - 0.5) ** 2)
    assert (float(sums["correct"]), float(sums["margin"])) == (1, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=3), st.integers(0, 2**31))
def test_groups_weigh_alike_whatever_their_number_of_answers(verdicts, seed):
    rows = rows_of(*(group(rights) for rights in verdicts), length=64)
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
    sums, counts = compiled(scores, rows)
    found = [float(counts.groups), *(float(sums[name]) for name in ("ranking", "centring", "correct"))]
    assert found == pytest.approx([groups, total, centring, correct], rel=1e-5, abs=1e-5)


def test_pairs_that_a_recipe_chose_are_the_ones_compared_whichever_of_them_is_right():
    # Of three wrong answers the second stands over the third; of the other group one of its two pairs was chosen.
    first = dataclasses.replace(group([False, False, False]), pairs=((1, 2),))
    second = dataclasses.replace(group([True, False, False]), pairs=((0, 2), (1, 2)))
    rows = rows_of(first, second, length=64)
    assert set(np.asarray(rows.still_right[0])[np.asarray(rows.group[0]) == 1]) == {-1}
    scores = jnp.zeros((1, 16)).at[0, :6].set(jnp.array([9.0, 0.5, -0.5, 2.0, 1.0, 1.5]))
    sums, counts = compiled(scores, rows)
    assert (float(counts.groups), float(counts.pairs)) == (2, 3)
    assert float(sums["ranking"]) == pytest.approx(softplus(-1.0) + (softplus(-0.5) + softplus(0.5)) / 2, rel=1e-6)
    assert float(sums["centring"]) == pytest.approx(0 + (3.5**2 + 2.5**2) / 2)
    assert float(sums["correct"]) == pytest.approx(1 + 1 / 2)
    softmax = ranking_sums(scores, rows, LossWeights(kway="softmax"))["ranking"]
    assert float(softmax) == pytest.approx(float(sums["ranking"]), rel=1e-6), "each better answer has one worse one"


def test_all_right_over_all_wrong_is_what_no_choice_means():
    chosen = dataclasses.replace(group([True, False, True]), pairs=((0, 1), (2, 1)))
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16)), jnp.float32)
    given, usual = (compiled(scores, rows_of(one, length=64)) for one in (chosen, group([True, False, True])))
    jax.tree.map(np.testing.assert_array_equal, given, usual)


def test_a_tie_is_not_correct():
    assert float(ranking_sums(jnp.zeros((1, 16)), rows_of(group([True, False, False])))["correct"]) == 0


def test_token_error_asks_of_each_token_whether_the_answer_is_still_right():
    rows = rows_of(group([True, False]))  # answers 5 6 2 (right) and 5 7 2 (wrong from its second token)
    labels = np.asarray(rows.still_right[0])
    assert labels.tolist() == [-1, -1, 1, 1, 1, 1, 0, 0, -1, -1, -1]
    rewards = jnp.asarray(np.random.default_rng(0).normal(size=labels.shape)[None])
    right = sum(softplus(-float(r)) for r, y in zip(rewards[0], labels) if y == 1)
    wrong = sum(softplus(float(r)) for r, y in zip(rewards[0], labels) if y == 0)
    assert [float(found) for found in token_error_sums(rewards, rows)] == pytest.approx([right, wrong], rel=1e-6)
    assert [float(count(rows).right_tokens), float(count(rows).wrong_tokens)] == [4, 2]


def test_the_next_token_loss_is_on_right_answers_alone():
    rows = rows_of(group([False, True]), group([True, True, False]))
    chosen = np.asarray(right_answer_tokens(rows)[0])
    expected = [(g, r) in {(1, 2), (2, 1), (2, 2)} for g, r in zip(rows.group[0], rows.response[0])]
    assert chosen.tolist() == expected
    at = np.asarray(next_token_at(right_answer_tokens(rows), 10)[0])
    assert at.tolist() == [*np.flatnonzero(expected), -1]


def test_of_a_context_every_token_but_the_first_is_predicted_once_and_counted():
    rows = rows_of(group([False, True]), group([True, True, False]))
    chosen = np.asarray(predicted_context_tokens(rows)[0])
    firsts = np.flatnonzero(np.diff(rows.group[0], prepend=0) > 0)
    expected = (rows.group[0] > 0) & (rows.response[0] == 0)
    expected[firsts] = False
    assert chosen.tolist() == expected.tolist()
    assert float(count(rows).context_tokens) == chosen.sum() == 2, "contexts of two tokens each"


def test_its_weight_is_one_number_and_learning_from_contexts_alone_is_learning():
    LossWeights(ranking=0.0, next_token_context=1.0).check()
    with pytest.raises(ConfigError, match=r"loss\.next_token_context=-1\.0: expected 0 or more"):
        LossWeights(next_token_context=-1.0).check()


def scored(rights: list[bool], rule: list[float], values: list[float]):
    """Rows of one group with these rule scores, and the model's scores in its slots."""
    rows = rows_of(dataclasses.replace(group(rights), scores=tuple(rule)))
    return jnp.zeros((1, 16)).at[0, : len(values)].set(jnp.array(values)), rows


def ranking(scores, rows, **weights) -> float:
    return float(ranking_sums(scores, rows, LossWeights(**weights))["ranking"])


def test_a_margin_is_asked_of_every_pair_and_one_by_rule_score_of_each_its_own():
    scores, rows = scored([True, False, False], [1.0, 0.5, -1.0], [2.0, 1.5, 0.0])
    assert ranking(scores, rows, margin=0.3) == pytest.approx((softplus(0.3 - 0.5) + softplus(0.3 - 2.0)) / 2)
    both = (softplus(0.1 + 0.4 * 0.5 - 0.5) + softplus(0.1 + 0.4 * 2.0 - 2.0)) / 2
    assert ranking(scores, rows, margin=0.1, rule_margin=0.4) == pytest.approx(both)


def test_label_smoothing_takes_a_share_of_pairs_for_the_other_way_round():
    scores, rows = scored([True, False], [1.0, 0.0], [2.0, 0.5])
    assert ranking(scores, rows, label_smoothing=0.1) == pytest.approx(0.9 * softplus(-1.5) + 0.1 * softplus(1.5))
    # Its minimum is where sigmoid(s_r - s_w) is 0.9, not at infinity.
    best = math.log(0.9 / 0.1)
    slope = jax.grad(
        lambda gap: ranking_sums(scores.at[0, 0].set(0.5 + gap), rows, LossWeights(label_smoothing=0.1))["ranking"]
    )
    assert float(slope(jnp.asarray(best))) == pytest.approx(0, abs=1e-6)


def test_pairs_weigh_by_the_difference_of_their_rule_scores_or_alike_where_there_is_none():
    scores, rows = scored([True, False, False], [1.0, 0.5, -1.0], [2.0, 1.5, 0.0])
    expected = (0.5 * softplus(-0.5) + 2.0 * softplus(-2.0)) / 2.5
    assert ranking(scores, rows, pair_weights="rule_score") == pytest.approx(expected)
    scores, rows = scored([True, False, False], [1.0, 1.0, 1.0], [2.0, 1.5, 0.0])
    assert ranking(scores, rows, pair_weights="rule_score") == pytest.approx(ranking(scores, rows))


def test_softmax_compares_each_right_answer_with_all_wrong_ones_at_once():
    scores, rows = scored([True, False, True, False], [0.0] * 4, [2.0, 1.5, 0.5, 0.0])
    wrong = math.exp(1.5 + 0.2) + math.exp(0.0 + 0.2)
    expected = sum(-math.log(math.exp(right) / (math.exp(right) + wrong)) for right in (2.0, 0.5)) / 2
    assert ranking(scores, rows, kway="softmax", margin=0.2) == pytest.approx(expected, rel=1e-6)
    # A pair is the same either way, and what has no wrong answer counts for nothing.
    scores, rows = scored([True, False], [0.0] * 2, [2.0, 1.5])
    assert ranking(scores, rows, kway="softmax") == pytest.approx(ranking(scores, rows), rel=1e-6)
    scores, rows = scored([True, True], [0.0] * 2, [2.0, 1.5])
    assert ranking(scores, rows, kway="softmax") == 0
    slope = jax.grad(lambda scores: ranking_sums(scores, rows, LossWeights(kway="softmax"))["ranking"])(scores)
    assert not np.any(slope), "and sends no gradient"


def test_what_a_part_of_a_step_counts_is_divided_by_the_counts_of_the_whole():
    whole, counts = rows_of(group([True, False]), group([True, False, False])), None
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16)))
    counts = count(whole)
    assert (float(counts.groups), float(counts.pairs)) == (2, 3)
    zero = jnp.zeros(())
    names = ("right_error", "wrong_error", "next_token", "next_token_context", "balance", "balance_weight")
    rest = dict.fromkeys(names, zero)
    sums = Sums(counts=counts, **ranking_sums(scores, whole), **rest)
    half = Sums(counts=counts, **{name: value / 2 for name, value in ranking_sums(scores, whole).items()}, **rest)
    weights = LossWeights()
    assert float(total_loss(half, weights, counts)) * 2 == pytest.approx(float(total_loss(sums, weights)))


def test_spread_of_the_scores_is_told_for_both_sides():
    rows = rows_of(group([True, False]), group([True, False]))
    scores = jnp.zeros((1, 16)).at[0, :4].set(jnp.array([3.0, -1.0, 1.0, -2.0]))
    zero = np.zeros(())
    sums = Sums(
        counts=jax.device_get(count(rows)),
        **jax.device_get(ranking_sums(scores, rows)),
        right_error=zero, wrong_error=zero, next_token=zero, next_token_context=zero,
        balance=np.array(7.0), balance_weight=np.array(3.5),
    )  # fmt: skip
    found = sums.means()
    assert [found["right_score"], found["right_score_std"]] == pytest.approx([2.0, 1.0])
    assert [found["wrong_score"], found["wrong_score_std"]] == pytest.approx([-1.5, 0.5])
    assert "next_token" not in found, "what was not computed is left out"
    assert found["balance"] == 2.0, "by what its parts weighed, be it groups or tokens"


def test_centring_is_paper_as_by_default():
    assert LossWeights() == LossWeights(centring=0.01, token_error=0.0, next_token=0.0)
