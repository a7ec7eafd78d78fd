"""A judge of rules alone: the schemas, and how much the arguments and the conversation have in common.

No model, no reference. It is the baseline a trained model has to beat; `added` puts it beside a likelihood.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from toolrm_jax.data.chat import response_text
from toolrm_jax.errors import DataError
from toolrm_jax.evals.baselines import Judge, each
from toolrm_jax.evals.scores import Score, Scores
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Candidate, ErrorType, Group

UNKNOWN_TOOL = -3.0
"""Per call of a tool that is not on offer."""
BAD_ARGUMENT = -2.0
"""Per required argument that is missing, argument that is not in the schema, and argument of a wrong type."""
NO_CALL = -5.0
"""For an answer without any call."""
TIE_BREAKS = (1e-3, 1e-4)
"""Weights of what decides between answers that the rule cannot tell apart; too small to decide anything else."""
LONG = 1000
"""Characters at which the length's tie-break reaches half of its weight."""

_ARGUMENT_FAULTS = (ErrorType.MISSING_REQUIRED, ErrorType.UNEXPECTED, ErrorType.TYPE)
_CUE = re.compile(r"\d+(?:\.\d+)?|\b[A-Z]\w+")


def hand_score(group: Group, candidate: Candidate) -> float:
    """Penalties as above, plus two shares in [0, 1]: of the argument values that are found literally in the
    conversation, and of the conversation's numbers and capitalised words that are found in the arguments.

    Upper and lower case are alike. Ties (one pair in five) are broken by the share of values that the called tools'
    schemas name (defaults, enums), then for the longer answer.
    """
    if not candidate.calls:
        return NO_CALL
    conversation = "\n".join(message.content for message in group.task.context.messages)
    values = [value for call in candidate.calls for value in _leaves(call.arguments)]
    called = {call.name for call in candidate.calls}
    schemas = json.dumps([tool.parameters for tool in group.task.context.tools if tool.name in called])
    length = len(response_text(candidate))
    score = sum(_penalties(group, candidate)) + _found(values, conversation) + _used(values, conversation)
    return score + TIE_BREAKS[0] * _found(values, schemas) + TIE_BREAKS[1] * length / (length + LONG)


HAND_RULE = Judge(
    "hand rule",
    each(hand_score),
    "no model: schema check, argument values found in the conversation, numbers and names of the question used",
)


def added(scores: Sequence[Sequence[Score]], hand: Sequence[Sequence[Score]], weight: float = 1.0) -> Scores:
    """z-scored `scores` plus `weight` × z-scored `hand`, per group and candidate; z over the whole benchmark.

    What either could not read stays unread: the rule does not decide in the model's place.
    Raises DataError where the two have not the same shape.
    """
    if [len(row) for row in scores] != [len(row) for row in hand]:
        raise DataError("two judges' scores can only be added for the same groups; score the same groups with both")
    if not len(scores):
        return []
    flat = _z(scores) + weight * _z(hand)
    ends = np.cumsum([len(row) for row in scores])
    return [[None if np.isnan(one) else float(one) for one in part] for part in np.split(flat, ends[:-1])]


def _penalties(group: Group, candidate: Candidate) -> Iterator[float]:
    for call in candidate.calls:
        for fault in violations(group.task.context.tools, call):
            if fault.kind is ErrorType.NAME:
                yield UNKNOWN_TOOL
            elif fault.kind in _ARGUMENT_FAULTS:
                yield BAD_ARGUMENT


def _leaves(value: Any) -> Iterator[Any]:
    """The values inside arguments that are neither objects nor lists, however deep."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
        else:
            yield part


def _forms(value: Any) -> Iterator[str]:
    """How a value may be written in a sentence: 0.05 is also 5%, and 3.0 is 3."""
    if not isinstance(value, float):
        yield (value if isinstance(value, str) else json.dumps(value)).lower()
        return
    yield repr(value)
    yield f"{value:g}"
    yield f"{100 * value:g}%"


def _found(values: Sequence[Any], text: str) -> float:
    text = text.lower()
    return sum(any(form in text for form in _forms(value)) for value in values) / max(1, len(values))


def _used(values: Sequence[Any], conversation: str) -> float:
    cues = set(_CUE.findall(conversation))
    arguments = "\n".join(form for value in values for form in _forms(value))
    return sum(cue.lower() in arguments for cue in cues) / max(1, len(cues))


def _z(scores: Sequence[Sequence[Score]]) -> np.ndarray:
    """All scores in one row, with mean 0 and standard deviation 1 (all 0 where they do not differ); NaN if unread."""
    flat = np.array([np.nan if score is None else score for row in scores for score in row], dtype=np.float64)
    if np.isnan(flat).all():
        return flat
    return (flat - np.nanmean(flat)) / (np.nanstd(flat) or 1.0)
