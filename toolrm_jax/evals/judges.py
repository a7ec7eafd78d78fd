"""Judges that read a model: the trained reward model, and the likelihood of a language model without training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.store import encode
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.evals.baselines import Judge, Scores
from toolrm_jax.evals.handrule import HAND_RULE, added
from toolrm_jax.toolcalls.types import Group

if TYPE_CHECKING:
    from toolrm_jax.models.heads import RewardModel

REWARD_MODEL = "reward model"
SUM, MEAN = "likelihood (sum)", "likelihood (mean)"


def reward_judge(model: RewardModel, chat: Chat, compute_dtype: str = "float32", name: str = REWARD_MODEL) -> Judge:
    """Scores by the model's scalar head."""

    def score(groups: Sequence[Group]) -> Scores:
        import jax.numpy as jnp

        from toolrm_jax.evals.scoring import score as rewards

        return _plain(rewards(model, [encode(chat, group) for group in groups], jnp.dtype(compute_dtype)))

    return Judge(name, score)


def likelihood_judges(model: RewardModel, chat: Chat, compute_dtype: str = "float32") -> tuple[Judge, Judge]:
    """(sum, mean) of log p(token | context, answer so far) over each answer's tokens, the end of turn with them.

    The model reads the same groups once, whichever of the two is asked first.
    """
    likelihood = _Likelihood(model, chat, compute_dtype)

    def total(groups: Sequence[Group]) -> Scores:
        return likelihood(groups)[1]

    def mean(groups: Sequence[Group]) -> Scores:
        tokens, sums = likelihood(groups)
        return [
            [value / len(answer) for value, answer in zip(row, group.responses)] for group, row in zip(tokens, sums)
        ]

    return Judge(SUM, total), Judge(MEAN, mean)


def with_hand_rule(judge: Judge) -> Judge:
    """The judge's scores plus the hand rule's, both z-scored over the groups at hand."""

    def score(groups: Sequence[Group]) -> Scores:
        return added(judge.score(groups), HAND_RULE.score(groups))

    return Judge(f"{judge.name} + {HAND_RULE.name}", score)


class _Likelihood:
    """Log-likelihoods of groups; those asked for last are kept, by the hash of their tokens."""

    def __init__(self, model: RewardModel, chat: Chat, compute_dtype: str) -> None:
        self._model, self._chat, self._dtype = model, chat, compute_dtype
        self._key, self._sums = "", []

    def __call__(self, groups: Sequence[Group]) -> tuple[list[TokenGroup], Scores]:
        import jax.numpy as jnp

        from toolrm_jax.evals.scoring import log_likelihood

        tokens = [encode(self._chat, group) for group in groups]
        key = hashlib.sha256(b"".join(group.to_bytes() for group in tokens)).hexdigest()
        if key != self._key:
            self._sums = _plain(log_likelihood(self._model, tokens, jnp.dtype(self._dtype)))
            self._key = key
        return tokens, self._sums


def _plain(rows: Sequence[Sequence[float]]) -> Scores:
    return [[float(value) for value in row] for row in rows]
