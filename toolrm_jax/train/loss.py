"""The loss of a reward model: Bradley-Terry over the right and wrong answers of each group, and what helps it.

Shape letters: B rows, T tokens, S answer slots, P = S x S pairs of slots of a row.
"""

from __future__ import annotations

import chz
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from toolrm_jax.data.rows import Rows


@chz.chz
class LossWeights:
    """How much each part of the loss counts. `centring` is paper A's eta; the others are auxiliary.

    token_error: at every token of an answer, whether the answer so far could still become a right one (logistic loss
    on the same head). A wrong answer so says *where* it goes wrong, not only that it does.
    next_token: the next-token loss on right answers, which keeps the backbone's knowledge of what is likely.
    balance: keeps the load of a mixture's experts even (Qwen3-MoE was trained with 0.001); a dense model has none.
    """

    centring: float = 0.01
    token_error: float = 0.0
    next_token: float = 0.0
    balance: float = 0.0


@struct.dataclass
class Sums:
    """Sums over groups (or tokens) with their counts: merged by adding, divided once at the end.

    `groups` counts groups with both a right and a wrong answer; the sums with no count of their own go over these.
    """

    groups: Array
    ranking: Array
    centring: Array
    correct: Array
    margin: Array
    right_score: Array
    wrong_score: Array
    token_error: Array
    next_token: Array
    next_tokens: Array
    balance: Array

    def means(self) -> dict[str, float]:
        """Averages by name. What nothing was counted for is left out."""
        groups, tokens = float(self.groups), float(self.next_tokens)
        names = ("ranking", "centring", "correct", "margin", "right_score", "wrong_score", "token_error")
        names += ("balance",) if float(self.balance) else ()
        out = {name: float(getattr(self, name)) / groups for name in names} if groups else {}
        return out | ({"next_token": float(self.next_token) / tokens} if tokens else {})


def pair_weights(rows: Rows) -> Float[Array, "B S S"]:
    """Weight of the pair (i right, j wrong): 1 / (R x W) within a group, so every group counts for one; else 0."""
    same = (rows.slot_group[:, :, None] == rows.slot_group[:, None, :]) & (rows.slot_group[:, :, None] > 0)
    right = rows.slot_right
    pairs = (same & right[:, :, None] & ~right[:, None, :]).astype(jnp.float32)
    rights = jnp.sum(same * right[:, None, :], axis=-1)
    wrongs = jnp.sum(same * ~right[:, None, :], axis=-1)
    return pairs / jnp.maximum(rights * wrongs, 1)[:, :, None]


def ranking_sums(scores: Float[Array, "B S"], rows: Rows) -> dict[str, Array]:
    """Sums over groups of -log sigmoid(s_r - s_w), (s_r + s_w)^2 and of what is reported about them.

    Method: paper A's loss (Bradley-Terry with reward centring, Eisenstein et al. 2023); a pair is the case 1 x 1.
    """
    weights = pair_weights(rows)
    right, wrong = scores[:, :, None], scores[:, None, :]
    gap = right - wrong
    total = lambda values: jnp.sum(weights * values)  # noqa: E731
    return {
        "groups": jnp.sum(weights),
        "ranking": total(jax.nn.softplus(-gap)),
        "centring": total((right + wrong) ** 2),
        "correct": total(gap > 0),
        "margin": total(gap),
        "right_score": total(jnp.broadcast_to(right, gap.shape)),
        "wrong_score": total(jnp.broadcast_to(wrong, gap.shape)),
    }


def token_error_sum(rewards: Float[Array, "B T"], rows: Rows, groups: Array) -> Array:
    """Logistic loss of every answer token, right and wrong ones weighing alike, times the number of groups."""
    sign = jnp.where(rows.still_right == 1, 1.0, -1.0)
    losses = jax.nn.softplus(-sign * rewards)
    mean = lambda chosen: jnp.sum(jnp.where(chosen, losses, 0)) / jnp.maximum(jnp.sum(chosen), 1)  # noqa: E731
    return groups * (mean(rows.still_right == 1) + mean(rows.still_right == 0)) / 2


def right_answer_tokens(rows: Rows) -> Array:
    """bool [B, T]: tokens of right answers, those that the next-token loss is on."""
    ends = jnp.where((rows.slot_group > 0) & rows.slot_right, rows.score_at, -1)
    own = jax.vmap(lambda group, response, end: (group[end], response[end]))(rows.group, rows.response, ends)
    same = (rows.group[:, :, None] == own[0][:, None, :]) & (rows.response[:, :, None] == own[1][:, None, :])
    return jnp.any(same & (ends >= 0)[:, None, :], axis=-1) & (rows.response > 0)
