"""The greedy tokens of an exported policy in an engine, against those of the same weights in JAX."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolrm_jax.commands.verify_suite import prompts
from toolrm_jax.converters.greedy import Parting, gap_change, parting, spread
from toolrm_jax.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from toolrm_jax.commands.trained import Opened
    from toolrm_jax.commands.verify import Config

Tokens = list[list[int]]
# Rows are as long as a multiple of this: few lengths to compile, little padding.
_LENGTHS = 256


def verify_policy(config: Config, opened: Opened, rounding: float) -> None:
    """Compare, print a line for each way of asking, and raise ModelError where tokens differ by more than a near tie.

    rounding: how many times JAX's own bfloat16 error a gap may be where the engine computes in bfloat16.
    """
    folder = Path(config.path)
    given = [opened.chat.context_ids(context) for context in prompts()]
    name, found = _engine(config, folder, given)
    print(
        f"{folder} against {name}: greedily {config.new_tokens} tokens after each of {len(given)} prompts of "
        f"{min(map(len, given))} to {max(map(len, given))} tokens; gaps are between logits"
    )
    fault = ""
    for dtype, tokens in found.items():
        seen = _compare(opened, given, tokens, dtype)
        limit = rounding * seen.rounding if dtype == "bfloat16" else config.tolerance * seen.spread
        same = len(given) - len(seen.partings)
        print(f"  {name} in {dtype}: {same} of {len(given)} answers are the same to the last token")
        for one in seen.partings:
            print(f"    {one}")
        about = f"; bfloat16 in JAX moves the best two by {seen.rounding:.1e}" if dtype == "bfloat16" else ""
        print(f"    a logit's spread is {seen.spread:.1e}{about}")
        worst = max(seen.partings, key=lambda one: one.gap, default=None)
        if worst and worst.gap > limit and not fault:
            fault = f"{name} in {dtype}, {worst}, rounding explains {limit:.1e}"
    if fault:
        raise ModelError(f"{folder}: tokens do not agree; {fault}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What is to be told: gaps and both measures are in logits; `rounding` only of an engine in bfloat16."""

    partings: list[Parting]
    spread: float
    rounding: float


def _engine(config: Config, folder: Path, given: Tokens) -> tuple[str, dict[str, Tokens]]:
    if config.against == "vllm":
        raise ConfigError("against=vllm: of a policy only SGLang's and transformers' tokens are compared")
    if config.against == "transformers":
        from toolrm_jax.converters.transformers_tokens import transformers_tokens

        dtypes = ("float32", "bfloat16")
        version, found = transformers_tokens(folder, given, config.new_tokens, dtypes, config.python)
        return f"transformers {version}", found
    from toolrm_jax.converters.served_scores import URLS
    from toolrm_jax.converters.served_tokens import served_tokens

    url = config.url or URLS["sglang"]
    return f"sglang at {url}", {config.dtype: served_tokens(url, given, config.new_tokens)}


def _compare(opened: Opened, given: Tokens, tokens: Tokens, dtype: str) -> _Seen:
    partings, wide, moved = [], 0.0, 0.0
    exact = _logits(opened, given, tokens, "float32")
    rounded = _logits(opened, given, tokens, dtype) if dtype == "bfloat16" else itertools.repeat(None)
    for number, (theirs, ours, ours_rounded) in enumerate(zip(tokens, exact, rounded)):
        if one := parting(number, ours, theirs):
            partings.append(one)
        wide = max(wide, spread(ours))
        if ours_rounded is not None:
            moved = max(moved, gap_change(ours, ours_rounded))
    return _Seen(partings, wide, moved)


def _logits(opened: Opened, given: Tokens, tokens: Tokens, dtype: str) -> Iterator[np.ndarray]:
    """Per prompt our logits [N, V], float32, for each of its N tokens, given the tokens before it."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.models.attention import Visible

    graph, state = nnx.split(opened.model)
    count = len(tokens[0])

    @jax.jit
    def run(state: nnx.State, row: jax.Array, start: int) -> jax.Array:
        at = jnp.arange(len(row))[None]
        model = nnx.merge(graph, state)
        visible = Visible.of((at < start + count).astype(jnp.int32), jnp.zeros_like(at))
        hidden, _ = model(row[None], at, visible, jnp.dtype(dtype))
        return model.logits(jax.lax.dynamic_slice_in_dim(hidden, start - 1, count, axis=1))[0]

    for prompt, answer in zip(given, tokens):
        row = np.zeros(-(-(len(prompt) + count) // _LENGTHS) * _LENGTHS, np.int32)
        row[: len(prompt) + count] = [*prompt, *answer]
        yield np.asarray(run(state, row, len(prompt)))
