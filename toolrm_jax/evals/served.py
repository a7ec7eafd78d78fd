"""A scalar judge behind HTTP: a model served by SGLang or vLLM.

A server that does not answer, refuses, or dies on the way is an error that stops the evaluation: none of its silence
becomes a score. Only an answer that is longer than it reads is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import TooLongError
from toolrm_jax.evals.baselines import Judge
from toolrm_jax.evals.readable import readable, scored
from toolrm_jax.evals.scores import Score, Scores
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Message

SENT_AT_ONCE = 32

Rows = Sequence[Sequence[int]]
Send = Callable[[Rows], list[float]]
"""Rows of token ids to their scores, as one batch; raises a ToolrmError where the server does not give them."""


def served_judge(name: str, send: Send, chat: Chat, about: str = "") -> Judge:
    """A scalar judge on a server: every answer as one row of token ids, context first, ending at its score position."""

    def score(groups: Sequence[Group]) -> Scores:
        return scored(groups, readable(chat, groups, None), lambda tokens: _by_group(tokens, send))

    return Judge(name, score, about)


def _by_group(groups: Sequence[TokenGroup], send: Send) -> Scores:
    rows = [[*group.context.tolist(), *answer.tolist()] for group in groups for answer in group.responses]
    batches = (rows[start : start + SENT_AT_ONCE] for start in range(0, len(rows), SENT_AT_ONCE))
    scores = iter([score for batch in batches for score in _sent(batch, send)])
    return [[next(scores) for _ in group.responses] for group in groups]


def _sent(rows: Rows, send: Send) -> Iterator[Score]:
    """The scores of a batch; where the server refuses it for its length, of its halves, and None at last."""
    try:
        yield from send(rows)
    except TooLongError:
        if len(rows) == 1:
            yield None
            return
        middle = len(rows) // 2
        yield from _sent(rows[:middle], send)
        yield from _sent(rows[middle:], send)


def probes(chat: Chat) -> list[list[int]]:
    """A few short rows whose scores tell one model from another."""
    context = Context((), (Message("user", "What is the capital of France?"),))
    answers = [Candidate(text=text) for text in ("Paris.", "Lyon.", "I do not know.", "")]
    encoded = chat.encode_group(context, answers, "probe")
    return [[*encoded.context.tolist(), *answer.tolist()] for answer in encoded.responses]
