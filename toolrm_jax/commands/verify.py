"""Compare an exported model in transformers, SGLang or vLLM with the same weights here, over a fixed suite.

Of a reward model scores: the engine is given the token ids of conversations with several tools, unicode, nested
arguments, empty answers and thousands of tokens, one at a time and 16 at a time. Of a policy the tokens that it
continues fifty prompts with, greedily. Exit code 2 where they differ by more than rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import chz
import numpy as np

from toolrm_jax.commands.verify_suite import LONG_TOKENS, Case, suite
from toolrm_jax.converters.agreement import agreement, explanation
from toolrm_jax.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from toolrm_jax.commands.trained import Opened
    from toolrm_jax.data.tokens import TokenGroup

BASE = None
_ROUNDING = 4.0
"""How many times JAX's own bfloat16 error an engine's may be: kernels round in other places, and in more of them."""

Scores = list[np.ndarray]
Found = dict[tuple[str, str], list[float]]
"""Scores by dtype and the way of asking."""


@chz.chz
class Config:
    """What is compared with what."""

    path: str  # an exported folder
    against: Literal["transformers", "sglang", "vllm"] = "transformers"
    url: str = ""  # of the server; empty: the engine's usual port on this machine
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # that the server computes in; transformers is asked for both
    python: str = ""  # one with torch and transformers; empty: this one. Another compares another version
    tolerance: float = 1e-5  # largest difference allowed in float32, relative to the scores' root mean square
    new_tokens: int = 32  # of a policy: how many after each prompt


def run(config: Config, overwrite: bool = False) -> int:
    """Compare, print a line for each way of asking, and raise ModelError where one of them is off."""
    from toolrm_jax.commands.trained import open_folder, open_reward_model
    from toolrm_jax.commands.verify_policy import verify_policy
    from toolrm_jax.converters.engine_config import check_serves
    from toolrm_jax.models.config import read_config

    folder = Path(config.path)
    if config.against == "transformers" and config.url:
        raise ConfigError("url= is of a server; transformers runs here, leave it out")
    if not (folder / "config.json").is_file() or (folder / "checkpoints").is_dir():
        raise ModelError(f"{folder}: no exported folder; write one with `toolrm export`")
    if is_policy(folder):
        verify_policy(config, open_folder(folder)[0], _ROUNDING)
        return 0
    opened = open_reward_model(folder)
    check_serves(read_config(folder), opened.chat.end_of_turn_id, str(folder / "config.json"))
    cases, groups = _encoded(opened)
    ours = {dtype: _score(opened, groups, dtype) for dtype in ("float32", "bfloat16")}
    rounding = agreement(ours["float32"], ours["bfloat16"])
    rows = [[*group.context, *answer] for group in groups for answer in group.responses]
    lengths = sorted(map(len, rows))
    name, found = _transformers(config, folder, rows) if config.against == "transformers" else _served(config, rows)
    print(
        f"{folder} against {name}: {len(rows)} answers to {len(cases)} conversations, {lengths[0]} to {lengths[-1]} "
        "tokens; differences are relative to the scores' root mean square"
    )
    print(f"  JAX in bfloat16: {rounding}")
    fault = ""
    for (dtype, batch), flat in found.items():
        theirs = _by_case(flat, groups)
        limit = config.tolerance if dtype == "float32" else _ROUNDING * rounding.largest
        seen = agreement(ours["float32"], theirs, limit)
        print(f"  {name} in {dtype}, {batch}: {seen}")
        if not fault and seen.largest > limit:
            trap = explanation(ours["float32"], theirs, _norms(opened, groups))
            why = f"the largest difference is {seen.largest:.1e}, rounding explains {limit:.1e}"
            fault = f"{name} in {dtype}, {batch}: {trap or why}"
    if fault:
        raise ModelError(f"{folder}: scores do not agree; {fault}")
    return 0


def is_policy(folder: Path) -> bool:
    """Whether the exported folder says that it is a causal LM."""
    from toolrm_jax.converters.expected import SUFFIX
    from toolrm_jax.models.config import read_config

    return any(str(name).endswith(SUFFIX["policy"]) for name in read_config(folder).get("architectures") or ())


def _encoded(opened: Opened) -> tuple[tuple[Case, ...], list[TokenGroup]]:
    """The suite as token groups; its long case fits what the model reads."""
    from toolrm_jax.data.tokens import TokenGroup

    longest = min(LONG_TOKENS, opened.model.config.max_position_embeddings * 3 // 4)
    words = 16
    while len(opened.chat.context_ids(suite(2 * words)[-1].context)) < longest:
        words *= 2
    cases, groups = suite(words), []
    for case in cases:
        encoded = opened.chat.encode_group(case.context, case.candidates, case.name)
        unknown = (False,) * len(encoded.responses)
        groups.append(
            TokenGroup(case.name, "", encoded.context, encoded.responses, unknown, ("",) * len(encoded.responses))
        )
    return cases, groups


def _score(opened: Opened, groups: Sequence[TokenGroup], dtype: str) -> Scores:
    import jax.numpy as jnp

    from toolrm_jax.evals.scoring import score

    return score(opened.model, groups, jnp.dtype(dtype))


def _transformers(config: Config, folder: Path, rows: list[list[int]]) -> tuple[str, Found]:
    from toolrm_jax.converters.transformers_scores import transformers_scores

    version, found = transformers_scores(folder, rows, ("float32", "bfloat16"), config.python)
    return f"transformers {version}", found


def _served(config: Config, rows: list[list[int]]) -> tuple[str, Found]:
    from toolrm_jax.converters.served_scores import URLS, served_scores

    url = config.url or URLS[config.against]
    found = {}
    for size in (1, 16):
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        scores = [score for batch in batches for score in served_scores(config.against, url, batch)]
        found[config.dtype, "one by one" if size == 1 else f"{size} at a time"] = scores
    return f"{config.against} at {url}", found


def _by_case(flat: Sequence[float], groups: Sequence[TokenGroup]) -> Scores:
    ends = np.cumsum([len(group.responses) for group in groups])
    return np.split(np.array(flat), ends[:-1])


def _norms(opened: Opened, groups: Sequence[TokenGroup]) -> Scores:
    """Length of the hidden state that each score is read from."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.models.attention import Visible

    graph, state = nnx.split(opened.model)
    rows = [[np.concatenate([group.context, answer]) for answer in group.responses] for group in groups]
    length = max(len(row) for case in rows for row in case)

    @jax.jit
    def norm(state: nnx.State, tokens: jax.Array, count: jax.Array) -> jax.Array:
        at = jnp.arange(length)[None]
        visible = Visible.of((at < count).astype(jnp.int32), jnp.zeros_like(at))
        hidden, _ = nnx.merge(graph, state)(tokens[None], at, visible)
        return jnp.linalg.norm(hidden[0, count - 1])

    padded = lambda row: np.pad(row, (0, length - len(row)))  # noqa: E731
    return [np.array([float(norm(state, padded(row), len(row))) for row in case]) for case in rows]
