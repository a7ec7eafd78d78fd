"""The loss of a reward model: Bradley-Terry over the better and worse answers of each group, and what helps it.

Everything is a sum over groups or tokens; it is divided once, by counts of the whole step. So a loss does not depend
on how a step is divided, over devices or in time (`accumulate.py`).

Shape letters: B rows, T tokens, S answer slots; a pair [B S S] is (i better, j worse) of one group: a right and a
wrong answer, or what a recipe chose. Metrics say right and wrong for the two sides of a pair.
"""

from __future__ import annotations

from typing import Literal

import chz
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from toolrm_jax.data.rows import Rows
from toolrm_jax.errors import ConfigError

Kway = Literal["pairs", "softmax"]
PairWeights = Literal["even", "rule_score"]


@chz.chz
class LossWeights:
    """How much each part of the loss counts. `centring` is paper A's eta; the others are auxiliary, or off.

    ranking: the comparison of answers; without it no pair is looked at, and what remains is counted by tokens.

    kway: how several answers are compared. pairs: the mean over right x wrong ones of -log sigmoid(s_r - s_w);
    softmax: the mean over right ones of -log of their share among themselves and the wrong ones (InfoNCE).
    pair_weights: what each pair counts within its group; rule_score: in proportion to the difference of rule scores.
    token_error: at every token of an answer, whether the answer so far could still become a right one (logistic loss
    on the same head). A wrong answer so says *where* it goes wrong, not only that it does.
    next_token: the next-token loss on right answers, which keeps the backbone's knowledge of what is likely.
    next_token_context: the same on contexts, tools and conversation, each counted once whatever the number of answers.
    balance: keeps the load of a mixture's experts even (Qwen3-MoE was trained with 0.001); a dense model has none.
    """

    ranking: float = 1.0
    centring: float = 0.01
    kway: Kway = "pairs"
    pair_weights: PairWeights = "even"  # of a group's pairs; rule_score: by the difference of their rule scores
    margin: float = 0.0  # by how much a right answer's score should be above a wrong one's
    rule_margin: float = 0.0  # the same for each point of difference in the rule score, added to it
    label_smoothing: float = 0.0  # the share of pairs taken to be labelled the wrong way round
    token_error: float = 0.0
    next_token: float = 0.0
    next_token_context: float = 0.0
    balance: float = 0.0

    def check(self) -> None:
        """Raises ConfigError for values that make no loss."""
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"loss.label_smoothing={self.label_smoothing}: expected a share from 0 to below 0.5")
        if self.kway == "softmax" and (self.label_smoothing or self.pair_weights != "even"):
            raise ConfigError("loss.kway=softmax knows no label_smoothing or pair_weights; leave them, or kway=pairs")
        for name in ("ranking", "centring", "token_error", "next_token", "next_token_context", "balance"):
            if not getattr(self, name) >= 0:  # so that what is no number fails too
                raise ConfigError(f"loss.{name}={getattr(self, name)}: expected 0 or more")
        if not (self.ranking or self.next_token or self.next_token_context):
            raise ConfigError(
                "loss.ranking=0 leaves nothing to learn from; give loss.next_token or loss.next_token_context a weight"
            )


@struct.dataclass
class Counts:
    """What the sums are divided by. They follow from the rows alone, so a step's are known before it is computed."""

    groups: Array
    pairs: Array
    right_tokens: Array
    wrong_tokens: Array
    next_tokens: Array
    context_tokens: Array

    def of_balance(self, weights: LossWeights) -> Array:
        """What a part of a step weighs in the mean of its experts' load."""
        return self.groups if weights.ranking else self.next_tokens


@struct.dataclass
class Sums:
    """Sums over groups (or tokens) with their counts: merged by adding, divided once at the end.

    `counts.groups` counts groups with a pair; sums without a count of their own go over these.
    """

    counts: Counts
    ranking: Array
    centring: Array
    correct: Array
    margin: Array
    right_score: Array
    wrong_score: Array
    right_square: Array
    wrong_square: Array
    right_error: Array
    wrong_error: Array
    next_token: Array
    next_token_context: Array
    balance: Array
    balance_weight: Array

    def means(self) -> dict[str, float]:
        """Averages by name, from sums on the host. What was not computed, or nothing was counted for, is left out."""
        count, out = self.counts, {}
        share = lambda value, by: float(value) / max(float(by), 1.0)  # noqa: E731
        if groups := float(count.groups):
            names = ("ranking", "centring", "correct", "margin", "right_score", "wrong_score")
            out |= {name: share(getattr(self, name), groups) for name in names}
            for side in ("right", "wrong"):
                variance = share(getattr(self, f"{side}_square"), groups) - out[f"{side}_score"] ** 2
                out[f"{side}_score_std"] = max(variance, 0.0) ** 0.5
        if float(self.right_error) or float(self.wrong_error):
            parts = (self.right_error, count.right_tokens), (self.wrong_error, count.wrong_tokens)
            out["token_error"] = sum(share(error, by) for error, by in parts) / 2
        if float(self.balance):
            out["balance"] = share(self.balance, self.balance_weight)
        if float(self.next_token):
            out["next_token"] = share(self.next_token, count.next_tokens)
        if float(self.next_token_context):
            out["next_token_context"] = share(self.next_token_context, count.context_tokens)
        return out


def pair_weights(rows: Rows, kind: PairWeights = "even") -> Float[Array, "B S S"]:
    """Weight of each pair: 1 in sum within a group, so that every group counts for one; 0 for what is no pair.

    By rule score: a group whose pairs do not differ in it weighs them alike.
    """
    pairs = rows.pairs.astype(jnp.float32)
    if kind == "rule_score":
        by_score = pairs * jnp.maximum(_rule_gap(rows), 0)
        pairs = jnp.where(_of_group(by_score, rows) > 0, by_score, pairs)
    total = _of_group(pairs, rows)
    return jnp.where(total > 0, pairs / jnp.maximum(total, 1e-20), 0)


def _rule_gap(rows: Rows) -> Float[Array, "B S S"]:
    return rows.slot_score[:, :, None] - rows.slot_score[:, None, :]


def _of_group(values: Float[Array, "B S S"], rows: Rows) -> Float[Array, "B S 1"]:
    """The sum of a pair's values over all pairs of its group."""
    same = (rows.slot_group[:, :, None] == rows.slot_group[:, None, :]).astype(jnp.float32)
    return jnp.einsum("bij,bj->bi", same, jnp.sum(values, axis=2), precision="highest")[:, :, None]


def count(rows: Rows) -> Counts:
    """What there is to count in a batch of rows. Next tokens are those of right answers, or of contexts."""
    total = lambda values: jnp.sum(values, dtype=jnp.float32)  # noqa: E731
    right, wrong = total(rows.still_right == 1), total(rows.still_right == 0)
    next_tokens, context_tokens = total(right_answer_tokens(rows)), total(predicted_context_tokens(rows))
    return Counts(jnp.sum(pair_weights(rows)), total(rows.pairs), right, wrong, next_tokens, context_tokens)


def ranking_sums(scores: Float[Array, "B S"], rows: Rows, weights: LossWeights = LossWeights()) -> dict[str, Array]:  # noqa: B008
    """Sums over groups of the comparison of answers, of (s_r + s_w)^2, and of what is reported about them.

    Method: paper A's loss (Bradley-Terry with reward centring, Eisenstein et al. 2023); a pair is the case 1 x 1.
    With a margin m a pair's loss is -log sigmoid(u), u = s_r - s_w - m (Llama 2, equation 2); smoothed by e it is
    -(1 - e) log sigmoid(u) - e log sigmoid(-u) (conservative DPO, Mitchell 2023).
    """
    right, wrong = scores[:, :, None], scores[:, None, :]
    gap = right - wrong
    even, weighed = pair_weights(rows), pair_weights(rows, weights.pair_weights)
    total = lambda values, by=even: jnp.sum(by * values)  # noqa: E731
    short = weights.margin + weights.rule_margin * _rule_gap(rows) - gap
    if weights.kway == "softmax":
        ranking = _softmax_sum(short, rows)
    else:
        losses = jax.nn.softplus(short)
        if weights.label_smoothing:
            losses = (1 - weights.label_smoothing) * losses + weights.label_smoothing * jax.nn.softplus(-short)
        ranking = total(losses, weighed)
    whole = lambda value: jnp.broadcast_to(value, gap.shape)  # noqa: E731
    return {
        "ranking": ranking,
        "centring": total((right + wrong) ** 2),
        "correct": total(gap > 0),
        "margin": total(gap),
        "right_score": total(whole(right)),
        "wrong_score": total(whole(wrong)),
        "right_square": total(whole(right) ** 2),
        "wrong_square": total(whole(wrong) ** 2),
    }


def _softmax_sum(short: Float[Array, "B S S"], rows: Rows) -> Array:
    """Over groups, the mean over right answers i of log(1 + sum over wrong j of exp(s_j - s_i + m))."""
    pairs = rows.pairs
    none = jnp.zeros((*short.shape[:2], 1))
    losses = jax.nn.logsumexp(jnp.concatenate([jnp.where(pairs, short, -jnp.inf), none], axis=2), axis=2)
    judged = jnp.any(pairs, axis=2, keepdims=True).astype(jnp.float32)
    rights = _of_group(judged, rows)[:, :, 0]
    return jnp.sum(judged[:, :, 0] * losses / jnp.maximum(rights, 1))


def token_error_sums(rewards: Float[Array, "B T"], rows: Rows) -> tuple[Array, Array]:
    """Logistic loss of the answer tokens that could still become right, and of those that could not, in sum."""
    losses = lambda sign, label: jnp.sum(jnp.where(rows.still_right == label, jax.nn.softplus(-sign * rewards), 0))  # noqa: E731
    return losses(1, 1), losses(-1, 0)


def right_answer_tokens(rows: Rows) -> Bool[Array, "B T"]:
    """Tokens of right answers, those that the next-token loss is on."""
    ends = jnp.where((rows.slot_group > 0) & rows.slot_right, rows.score_at, -1)
    own = jax.vmap(lambda group, response, end: (group[end], response[end]))(rows.group, rows.response, ends)
    same = (rows.group[:, :, None] == own[0][:, None, :]) & (rows.response[:, :, None] == own[1][:, None, :])
    return jnp.any(same & (ends >= 0)[:, None, :], axis=-1) & (rows.response > 0)


def predicted_context_tokens(rows: Rows) -> Bool[Array, "B T"]:
    """Tokens of contexts but for the first of each, which nothing stands before."""
    return (rows.group > 0) & (rows.response == 0) & (rows.positions > 0)


def next_token_at(chosen: Bool[Array, "B T"], most: int) -> Array:
    """int32 [B, most]: where the chosen tokens stand in their rows, -1 beyond them; no row has more."""
    find = lambda mask: jnp.nonzero(mask, size=most, fill_value=-1)[0]  # noqa: E731
    return jax.vmap(find)(chosen)


def total_loss(sums: Sums, weights: LossWeights, counts: Counts | None = None) -> Array:
    """The weighted mean that is minimised; `counts` of the whole step, where the sums are of a part of it."""
    by = sums.counts if counts is None else counts
    mean = lambda value, by: value / jnp.maximum(by, 1)  # noqa: E731
    loss = mean(weights.ranking * sums.ranking + weights.centring * sums.centring, by.groups)
    loss += weights.balance * mean(sums.balance, by.of_balance(weights))
    error = mean(sums.right_error, by.right_tokens) + mean(sums.wrong_error, by.wrong_tokens)
    loss = loss + weights.token_error * error / 2 + weights.next_token * mean(sums.next_token, by.next_tokens)
    if weights.next_token_context:
        loss += weights.next_token_context * mean(sums.next_token_context, by.context_tokens)
    return loss
