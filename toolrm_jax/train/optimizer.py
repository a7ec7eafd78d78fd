"""AdamW with a warm-up and a schedule, clipping, no decay on norms and biases, and a running mean of the weights.

Adam keeps two float32 numbers for each weight, as much again as weights and gradients together. `first_moment=bfloat16`
and `second_moment=factored` bring these 8 bytes down to 6 and 4, and both together to 2.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import chz
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from toolrm_jax.errors import ConfigError
from toolrm_jax.train.factored import scale_by_factored_adam


@chz.chz
class OptimizerConfig:
    """Defaults are paper B's script and its framework's (method.md 3.5): betas, floor of the cosine, warm-up, clip."""

    learning_rate: float = 4e-6
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # of the learning rate, after the warm-up
    head_multiplier: float = 1.0  # of the scalar head, where it starts from nothing
    warmup: float = 0.03  # share of all steps
    final: float = 0.1  # learning rate at the end, as a share of its peak; constant: it stays there instead
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip: float = 1.0  # largest global norm of the gradients
    ema: float = 0.0  # decay of a running mean of the weights, which is then judged and exported; 0: none
    first_moment: Literal["weights", "bfloat16"] = "weights"  # dtype of Adam's first moment: the weights' own, or half
    second_moment: Literal["whole", "factored"] = "whole"  # factored: of a matrix its rows and columns (factored.py)

    def check(self) -> None:
        """Raises ConfigError for values with which nothing is learned, or nothing of it kept."""
        ranges = {
            "learning_rate": (self.learning_rate > 0, "more than 0"),
            "head_multiplier": (self.head_multiplier >= 0, "0 or more"),
            "warmup": (0 <= self.warmup < 1, "a share of all steps, from 0 to below 1"),
            "final": (0 <= self.final <= 1, "a share of the peak, from 0 to 1"),
            "beta1": (0 <= self.beta1 < 1, "from 0 to below 1"),
            "beta2": (0 <= self.beta2 < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip": (self.clip > 0, "more than 0; inf does not clip"),
            "ema": (0 <= self.ema < 1, "0 for none, or a decay below 1 such as 0.999"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:  # so that what is no number fails too
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: expected {expected}")
        if math.isinf(self.learning_rate):
            raise ConfigError("optimizer.learning_rate=inf: expected a number")


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then along a cosine or a line down to `final` of the peak at the last
    step, or no further change."""
    warmup = max(1, round(config.warmup * steps))
    peak, last = config.learning_rate, max(steps, warmup + 1)
    if config.schedule != "cosine":
        rise = optax.linear_schedule(peak / warmup, peak, warmup)
        end = peak if config.schedule == "constant" else peak * config.final
        return optax.join_schedules([rise, optax.linear_schedule(peak, end, last - warmup)], [warmup])
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / warmup,
        peak_value=peak,
        warmup_steps=warmup,
        decay_steps=last,
        end_value=peak * config.final,
    )


def decayed(params: nnx.State) -> nnx.State:
    """True for matrices: norms and biases are not decayed."""
    return jax.tree.map_with_path(lambda path, _: not _name(path).endswith(("norm", "_bias")), params)


def _name(path: tuple) -> str:
    return next(str(key.key) for key in reversed(path) if isinstance(key, jax.tree_util.DictKey))


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The whole update rule, for `steps` steps."""

    def scale_head(updates: nnx.State) -> nnx.State:
        return jax.tree.map_with_path(
            lambda path, value: value * (config.head_multiplier if _name(path) == "score" else 1.0), updates
        )

    first_moment = jnp.bfloat16 if config.first_moment == "bfloat16" else None
    adam = optax.scale_by_adam if config.second_moment == "whole" else scale_by_factored_adam
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        adam(b1=config.beta1, b2=config.beta2, mu_dtype=first_moment),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        optax.stateless(lambda updates, _: scale_head(updates)),
        optax.scale_by_learning_rate(schedule(config, steps)),
        *([keep_mean(config.ema)] if config.ema else []),
    )


class Mean(NamedTuple):
    """The running mean of the weights."""

    mean: nnx.State


def keep_mean(decay: float) -> optax.GradientTransformation:
    """Leaves updates as they are and keeps decay x mean + (1 - decay) x weights, from the first weights on."""

    def update(updates: nnx.State, state: Mean, params: nnx.State | None = None) -> tuple[nnx.State, Mean]:
        assert params is not None
        after = optax.apply_updates(params, updates)
        return updates, Mean(jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.mean, after))

    return optax.GradientTransformation(lambda params: Mean(jax.tree.map(jnp.array, params)), update)


def judged_weights(params: nnx.State, optimizer: Any) -> nnx.State:
    """The weights that a model is judged and exported with: their running mean where the optimiser keeps one."""
    return next((part.mean for part in optimizer if isinstance(part, Mean)), params)
