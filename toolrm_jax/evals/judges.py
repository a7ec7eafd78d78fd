"""Judges that read a model: the trained reward model, and the likelihood of a language model without training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.store import encode
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.evals.baselines import Judge, Scores
from toolrm_jax.evals.handrule import HAND_RULE, added
from toolrm_jax.toolcalls.types import Group

if TYPE_CHECKING:
    from toolrm_jax.evals.scoring import Clock
    from toolrm_jax.models.heads import RewardModel

REWARD_MODEL = "reward model"
SUM, MEAN = "likelihood (sum)", "likelihood (mean)"
PER_CALL = "likelihood (sum, per-call correction)"


def reward_judge(
    model: RewardModel,
    chat: Chat,
    compute_dtype: str = "float32",
    name: str = REWARD_MODEL,
    clock: Clock | None = None,
    skip: bool = False,
) -> Judge:
    """Scores by the model's scalar head. `clock` counts where the time goes.

    With `skip`, a group that is longer than the model reads, or that its chat template cannot write, has NaN for
    scores (`unread_is_tied` makes a loss of it); else it is a DataError.
    """

    def score(groups: Sequence[Group]) -> Scores:
        import jax.numpy as jnp

        from toolrm_jax.evals import scoring

        spent = clock or scoring.Clock()
        with spent.on(scoring.TOKENISE):
            tokens = [_encoded(chat, group, skip) for group in groups]
        kept = [one for one in tokens if one is not None and not (skip and _too_long(one, model))]
        read = iter(_plain(scoring.score(model, kept, jnp.dtype(compute_dtype), spent)))
        places = {id(one) for one in kept}
        return [
            next(read) if id(one) in places else [math.nan] * len(group.candidates)
            for one, group in zip(tokens, groups)
        ]

    return Judge(name, score)


def unread_is_tied(judge: Judge, unread: dict[str, int]) -> Judge:
    """The judge with the scores of groups it could not read made equal, so that all their pairs are lost.

    `unread` holds, under the judge's name, how many groups of those scored last these were.
    """

    def score(groups: Sequence[Group]) -> Scores:
        rows = judge.score(groups)
        lost = [any(map(math.isnan, row)) for row in rows]
        unread[judge.name] = sum(lost)
        return [[0.0] * len(row) if gone else row for row, gone in zip(rows, lost)]

    return Judge(judge.name, score, judge.about)


def _encoded(chat: Chat, group: Group, skip: bool) -> TokenGroup | None:
    try:
        return encode(chat, group)
    except DataError:
        if not skip:
            raise
        return None


def _too_long(group: TokenGroup, model: RewardModel) -> bool:
    longest = max(map(len, group.responses), default=0)
    return len(group.context) + longest > model.config.max_position_embeddings


def per_call(total: Judge) -> Judge:
    """The summed likelihood with a correction per call: what a call costs on average over the answers at hand.

    It takes from the sum its preference for fewer calls without knowing which answers are right.
    """

    def score(groups: Sequence[Group]) -> Scores:
        sums = total.score(groups)
        calls = [[len(candidate.calls) for candidate in group.candidates] for group in groups]
        costs = [s / n for row, counts in zip(sums, calls) for s, n in zip(row, counts) if n]
        cost = sum(costs) / len(costs) if costs else 0.0
        return [[s - cost * n for s, n in zip(row, counts)] for row, counts in zip(sums, calls)]

    return Judge(PER_CALL, score, "the sum, plus for each call what one costs on average")


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


def with_hand_rule(judge: Judge, weight: float = 1.0) -> Judge:
    """The judge's scores plus `weight` × the hand rule's, both z-scored over the groups at hand."""

    def score(groups: Sequence[Group]) -> Scores:
        return added(judge.score(groups), HAND_RULE.score(groups), weight)

    return Judge(f"{judge.name} + {HAND_RULE.name}", score)


class _Likelihood:
    """Log-likelihoods of groups, kept by the hash of their tokens: the sum and the mean are asked for apart."""

    def __init__(self, model: RewardModel, chat: Chat, compute_dtype: str) -> None:
        self._model, self._chat, self._dtype = model, chat, compute_dtype
        self._sums: dict[str, Scores] = {}

    def __call__(self, groups: Sequence[Group]) -> tuple[list[TokenGroup], Scores]:
        import jax.numpy as jnp

        from toolrm_jax.evals.scoring import log_likelihood

        tokens = [encode(self._chat, group) for group in groups]
        key = hashlib.sha256(b"".join(group.to_bytes() for group in tokens)).hexdigest()
        if key not in self._sums:
            self._sums[key] = _plain(log_likelihood(self._model, tokens, jnp.dtype(self._dtype)))
        return tokens, self._sums[key]


def _plain(rows: Sequence[Sequence[float]]) -> Scores:
    return [[float(value) for value in row] for row in rows]
