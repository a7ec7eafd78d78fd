"""One training step: gradients of the trained part of a model, and its update. Pure, jitted, buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from toolrm_jax.data.rows import Rows
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.train.loss import LossWeights, Sums, ranking_sums, right_answer_tokens, token_error_sum


@struct.dataclass
class TrainState:
    """What a step changes: the trained parameters, the optimiser's state, and the number of steps done."""

    params: nnx.State
    optimizer: Any
    step: jax.Array


def is_trained(model: RewardModel) -> Callable[[tuple, Any], bool]:
    """Which parameters are trained: all, or with frozen layers those above them and the scalar head.

    The embedding and the language-model head are frozen with the lower layers: a gradient of theirs would have the
    size of the vocabulary, at each step.
    """
    frozen = model.trunk.frozen_layers

    def trained(path: tuple, _: Any) -> bool:
        if not frozen:
            return True
        if path[:2] == ("trunk", "stacks"):
            return path[2] > 0
        return path[-1] in ("score", "norm")

    return trained


def split(model: RewardModel) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The model as (graph, trained parameters, frozen parameters)."""
    return nnx.split(model, is_trained(model), ...)


def loss_sums(model: RewardModel, rows: Rows, weights: LossWeights, dtype: jnp.dtype, remat: bool = False) -> Sums:
    """All parts of the loss over a batch, as sums. A part of weight zero is not computed and reads zero."""
    hidden, rewards = model(rows.tokens, rows.positions, Visible(rows.group, rows.response), dtype, remat)
    ranking = ranking_sums(jnp.take_along_axis(rewards, rows.score_at, axis=1), rows)
    zero = jnp.zeros(())
    token_error = token_error_sum(rewards, rows, ranking["groups"]) if weights.token_error else zero
    next_token = next_tokens = zero
    if weights.next_token:
        # Right answers are well under half of a row; the first half of the row's length of their tokens is taken.
        chosen = right_answer_tokens(rows)
        at = jax.vmap(lambda mask: jnp.nonzero(mask, size=mask.shape[0] // 2, fill_value=-1)[0])(chosen)
        source = jnp.take_along_axis(rows.previous, jnp.maximum(at, 0), axis=1)
        target = jnp.take_along_axis(rows.tokens, jnp.maximum(at, 0), axis=1)
        counted = at >= 0
        next_token = -jnp.sum(jnp.where(counted, model.log_probabilities(hidden, source, target), 0))
        next_tokens = jnp.sum(counted).astype(jnp.float32)
    return Sums(**ranking, token_error=token_error, next_token=next_token, next_tokens=next_tokens)


def total_loss(sums: Sums, weights: LossWeights) -> jax.Array:
    """The weighted mean that is minimised."""
    groups = jnp.maximum(sums.groups, 1)
    loss = (sums.ranking + weights.centring * sums.centring + weights.token_error * sums.token_error) / groups
    return loss + weights.next_token * sums.next_token / jnp.maximum(sums.next_tokens, 1)


def make_train_step(
    graph: nnx.GraphDef, optimizer: optax.GradientTransformation, weights: LossWeights, dtype: jnp.dtype, remat: bool
) -> Callable[[TrainState, nnx.State, Rows], tuple[TrainState, dict[str, Any]]]:
    """The jitted step `(state, frozen, rows) -> (state, metrics)`; `state`'s buffers are donated."""

    def step(state: TrainState, frozen: nnx.State, rows: Rows) -> tuple[TrainState, dict[str, Any]]:
        def objective(params: nnx.State) -> tuple[jax.Array, Sums]:
            sums = loss_sums(nnx.merge(graph, params, frozen), rows, weights, dtype, remat)
            return total_loss(sums, weights), sums

        (loss, sums), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "sums": sums, "gradient_norm": optax.global_norm(gradients)}
        return TrainState(params, optimizer_state, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)


def make_eval_step(
    graph: nnx.GraphDef, weights: LossWeights, dtype: jnp.dtype
) -> Callable[[nnx.State, nnx.State, Rows], Sums]:
    """The jitted `(trained, frozen, rows) -> Sums` of held-out rows."""

    def evaluate(params: nnx.State, frozen: nnx.State, rows: Rows) -> Sums:
        return loss_sums(nnx.merge(graph, params, frozen), rows, weights, dtype)

    return jax.jit(evaluate)
