"""Judges that read a model: the trained reward model, and the likelihood of a language model without training.

An answer that is longer, with its context, than the model reads, or that its chat template cannot write, is None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.evals.baselines import Judge
from toolrm_jax.evals.handrule import HAND_RULE, added
from toolrm_jax.evals.readable import readable, scored
from toolrm_jax.evals.scores import Scores
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
) -> Judge:
    """Scores by the model's scalar head. `clock` counts where the time goes."""

    def score(groups: Sequence[Group]) -> Scores:
        import jax.numpy as jnp

        from toolrm_jax.evals import scoring

        spent = clock or scoring.Clock()
        with spent.on(scoring.TOKENISE):
            read = readable(chat, groups, model.config.max_position_embeddings)
        return scored(groups, read, lambda tokens: scoring.score(model, tokens, jnp.dtype(compute_dtype), spent))

    return Judge(name, score)


def per_call(total: Judge) -> Judge:
    """The summed likelihood with a correction per call: what a call costs on average over the answers at hand.

    It takes from the sum its preference for fewer calls without knowing which answers are right.
    """

    def score(groups: Sequence[Group]) -> Scores:
        sums = total.score(groups)
        calls = [[len(candidate.calls) for candidate in group.candidates] for group in groups]
        costs = [s / n for row, counts in zip(sums, calls) for s, n in zip(row, counts) if n and s is not None]
        cost = sum(costs) / len(costs) if costs else 0.0
        return [[None if s is None else s - cost * n for s, n in zip(row, counts)] for row, counts in zip(sums, calls)]

    return Judge(PER_CALL, score, "the sum, plus for each call what one costs on average")


def likelihood_judges(model: RewardModel, chat: Chat, compute_dtype: str = "float32") -> tuple[Judge, Judge]:
    """(sum, mean) of log p(token | context, answer so far) over each answer's tokens, the end of turn with them.

    The model reads the same groups once, whichever of the two is asked first.
    """
    likelihood = _Likelihood(model, compute_dtype)

    def judged(groups: Sequence[Group], of: Callable[[list[TokenGroup]], Scores]) -> Scores:
        return scored(groups, readable(chat, groups, model.config.max_position_embeddings), of)

    def mean(tokens: list[TokenGroup]) -> Scores:
        return [
            [value / len(answer) for value, answer in zip(row, group.responses)]
            for group, row in zip(tokens, likelihood(tokens))
        ]

    return Judge(SUM, lambda groups: judged(groups, likelihood)), Judge(MEAN, lambda groups: judged(groups, mean))


def with_hand_rule(judge: Judge, weight: float = 1.0) -> Judge:
    """The judge's scores plus `weight` × the hand rule's, both z-scored over the groups at hand."""

    def score(groups: Sequence[Group]) -> Scores:
        return added(judge.score(groups), HAND_RULE.score(groups), weight)

    return Judge(f"{judge.name} + {HAND_RULE.name}", score)


class _Likelihood:
    """Log-likelihoods of groups, kept by the hash of their tokens: the sum and the mean are asked for apart."""

    def __init__(self, model: RewardModel, compute_dtype: str) -> None:
        self._model, self._dtype = model, compute_dtype
        self._sums: dict[str, list[list[float]]] = {}

    def __call__(self, tokens: list[TokenGroup]) -> list[list[float]]:
        import jax.numpy as jnp

        from toolrm_jax.evals.scoring import log_likelihood

        key = hashlib.sha256(b"".join(group.to_bytes() for group in tokens)).hexdigest()
        if key not in self._sums:
            rows = log_likelihood(self._model, tokens, jnp.dtype(self._dtype))
            self._sums[key] = [[float(value) for value in row] for row in rows]
        return self._sums[key]
