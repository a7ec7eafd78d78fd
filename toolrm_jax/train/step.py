"""One training step: gradients of the trained part of a model, and its update. Pure, jitted, buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from toolrm_jax.data.rows import Rows
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import Backend
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.placement import placed
from toolrm_jax.models.remat import Remat
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.loss import LossWeights, Sums, ranking_sums, right_answer_tokens, token_error_sum


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


def loss_sums(
    model: RewardModel,
    rows: Rows,
    weights: LossWeights,
    dtype: jnp.dtype,
    remat: Remat = "none",
    backend: Backend | None = None,
) -> Sums:
    """All parts of the loss over a batch, as sums. A part of weight zero is not computed and reads zero."""
    visible = Visible(rows.group, rows.response)
    hidden, rewards, balance = model.with_balance(rows.tokens, rows.positions, visible, dtype, remat, backend)
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
    balance = balance * ranking["groups"]
    return Sums(**ranking, token_error=token_error, next_token=next_token, next_tokens=next_tokens, balance=balance)


def total_loss(sums: Sums, weights: LossWeights) -> jax.Array:
    """The weighted mean that is minimised."""
    groups = jnp.maximum(sums.groups, 1)
    auxiliary = weights.centring * sums.centring + weights.token_error * sums.token_error
    loss = (sums.ranking + auxiliary + weights.balance * sums.balance) / groups
    return loss + weights.next_token * sums.next_token / jnp.maximum(sums.next_tokens, 1)


def make_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    weights: LossWeights,
    dtype: jnp.dtype,
    remat: Remat,
    layout: Layout | None = None,
    backend: Backend | None = None,
) -> Callable[[TrainState, nnx.State, Rows], tuple[TrainState, dict[str, Any]]]:
    """The jitted step `(state, frozen, rows) -> (state, metrics)`; `state`'s buffers are donated.

    With a `layout` the step runs on its mesh, and the new state lies as the old one.
    """

    def step(state: TrainState, frozen: nnx.State, rows: Rows) -> tuple[TrainState, dict[str, Any]]:
        def objective(params: nnx.State) -> tuple[jax.Array, Sums]:
            with placed(layout and layout.placed):
                sums = loss_sums(nnx.merge(graph, params, frozen), rows, weights, dtype, remat, backend)
            return total_loss(sums, weights), sums

        (loss, sums), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "sums": sums, "gradient_norm": optax.global_norm(gradients)}
        # Counted here, where rows are those of all processes.
        metrics |= {"tokens": jnp.sum(rows.group > 0), "groups": jnp.sum(jnp.max(rows.slot_group, axis=1))}
        return TrainState(params, optimizer_state, state.step + 1), metrics

    if layout is None:
        return jax.jit(step, donate_argnums=0)
    return jax.jit(step, donate_argnums=0, out_shardings=(layout.state, layout.whole))


def make_eval_step(
    graph: nnx.GraphDef,
    weights: LossWeights,
    dtype: jnp.dtype,
    layout: Layout | None = None,
    backend: Backend | None = None,
) -> Callable[[nnx.State, nnx.State, Rows], Sums]:
    """The jitted `(trained, frozen, rows) -> Sums` of held-out rows."""

    def evaluate(params: nnx.State, frozen: nnx.State, rows: Rows) -> Sums:
        with placed(layout and layout.placed):
            return loss_sums(nnx.merge(graph, params, frozen), rows, weights, dtype, backend=backend)

    return jax.jit(evaluate) if layout is None else jax.jit(evaluate, out_shardings=layout.whole)
