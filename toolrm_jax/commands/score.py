"""Score the candidates of a JSON-lines file with a trained model.

Each line of `input` is {"tools": […], "messages": […], "candidates": [{"tool_calls": [{"name", "arguments"}…]} |
{"content": "…"}]}; each line of `output` is {"scores": […]} in the same order, higher is better. Scores compare
candidates of one line; between lines they mean nothing. Nothing is written if any line is bad.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import chz

from toolrm_jax.commands.score_lines import Line, read_lines
from toolrm_jax.commands.trained import Opened, open_reward_model
from toolrm_jax.errors import DataError
from toolrm_jax.files import write_file

if TYPE_CHECKING:
    from toolrm_jax.data.tokens import TokenGroup

BASE = None


@chz.chz
class Config:
    """What is scored with what."""

    model: str  # an exported folder, or a run's
    input: str  # JSON lines
    output: str  # the file to write; one that is there is replaced
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # bfloat16 is faster on accelerators and less exact


def run(config: Config, overwrite: bool = False) -> int:
    """Score the file."""
    lines = list(read_lines(config.input))
    scores = score_lines(open_reward_model(config.model), lines, config.compute_dtype)
    write_file(config.output, "".join(json.dumps({"scores": row}) + "\n" for row in scores))
    print(f"{config.output}: scores of {sum(map(len, scores))} candidates on {len(scores)} lines")
    return 0


def score_lines(opened: Opened, lines: list[Line], compute_dtype: str = "float32") -> list[list[float]]:
    """The score of every candidate of every line. Raises DataError, which begins with the line's place."""
    import jax.numpy as jnp

    from toolrm_jax.evals.scoring import score

    longest = opened.model.config.max_position_embeddings
    groups = [_encode(opened, line, longest) for line in lines]
    return [[float(value) for value in row] for row in score(opened.model, groups, jnp.dtype(compute_dtype))]


def _encode(opened: Opened, line: Line, longest: int) -> TokenGroup:
    from toolrm_jax.data.tokens import TokenGroup

    try:
        encoded = opened.chat.encode_group(line.context, line.candidates)
    except DataError as error:
        raise DataError(f"{line.where}: {error}") from None
    size = len(encoded.context) + max(map(len, encoded.responses), default=0)
    if size > longest:
        raise DataError(f"{line.where}: has {size} tokens, the model reads at most {longest}; shorten the context")
    unknown = (False,) * len(encoded.responses)
    return TokenGroup(line.where, "", encoded.context, encoded.responses, unknown, ("",) * len(unknown))
