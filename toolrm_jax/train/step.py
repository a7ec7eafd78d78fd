"""One training step: gradients of the trained part of a model, and its update. Pure, jitted, buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from toolrm_jax.data.rows import Rows
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import Backend
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import has_adapters, is_adapter
from toolrm_jax.models.placement import placed
from toolrm_jax.models.remat import Remat
from toolrm_jax.train.accumulate import in_parts
from toolrm_jax.train.config import Task
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.loss import (
    LossWeights,
    Sums,
    count,
    next_token_at,
    predicted_context_tokens,
    ranking_sums,
    right_answer_tokens,
    token_error_sums,
    total_loss,
)


def is_trained(model: RewardModel, task: Task = "reward") -> Callable[[tuple, Any], bool]:
    """Which parameters are trained: all, or with frozen layers those above them and the scalar head.

    The embedding and the language-model head are frozen with the lower layers: a gradient of theirs would have the
    size of the vocabulary, at each step. With adapters, they alone are trained and the scalar head. A policy has
    no use for that head, so it is left as it is.
    """
    frozen, adapted = model.trunk.frozen_layers, has_adapters(model)

    def trained(path: tuple, _: Any) -> bool:
        if path[-1] == "score":
            return task == "reward"
        if adapted:
            return is_adapter(path)
        if not frozen:
            return True
        if path[:2] == ("trunk", "stacks"):
            return path[2] > 0
        return path[-1] == "norm"

    return trained


def split(model: RewardModel, task: Task = "reward") -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The model as (graph, trained parameters, frozen parameters)."""
    return nnx.split(model, is_trained(model, task), ...)


def loss_sums(
    model: RewardModel,
    rows: Rows,
    weights: LossWeights,
    dtype: jnp.dtype,
    remat: Remat = "none",
    backend: Backend | None = None,
    most_right_tokens: int | None = None,
) -> Sums:
    """All parts of the loss over a batch, as sums. A part of weight zero is not computed and reads zero.

    most_right_tokens: no row has more tokens of right answers; None: not known. The next-token loss makes logits for
    so many of each row.
    """
    return scored_sums(model, rows, weights, dtype, remat, backend, most_right_tokens)[0]


def scored_sums(
    model: RewardModel,
    rows: Rows,
    weights: LossWeights,
    dtype: jnp.dtype,
    remat: Remat = "none",
    backend: Backend | None = None,
    most_right_tokens: int | None = None,
) -> tuple[Sums, Float[Array, "B S"]]:
    """The same, and the score in every answer slot."""
    visible = Visible.of(rows.group, rows.response)
    hidden, rewards, balance = model.with_balance(rows.tokens, rows.positions, visible, dtype, remat, backend)
    with jax.numpy_rank_promotion("raise"):
        scores = jnp.take_along_axis(rewards, rows.score_at, axis=1)
        zero, counts = jnp.zeros(()), count(rows)
        right_error, wrong_error = token_error_sums(rewards, rows) if weights.token_error else (zero, zero)

        def next_token_sum(chosen: Bool[Array, "B T"], most: int) -> Array:
            at = next_token_at(chosen, most)
            source = jnp.take_along_axis(rows.previous, jnp.maximum(at, 0), axis=1)
            target = jnp.take_along_axis(rows.tokens, jnp.maximum(at, 0), axis=1)
            return -jnp.sum(jnp.where(at >= 0, model.log_probabilities(hidden, source, target), 0))

        length = rows.tokens.shape[1]
        next_token = context = zero
        if weights.next_token:
            next_token = next_token_sum(right_answer_tokens(rows), most_right_tokens or length)
        if weights.next_token_context:
            # Contexts are most of a row, and which row has most of them nobody has counted.
            context = next_token_sum(predicted_context_tokens(rows), length)
        sums = Sums(
            counts=counts,
            **ranking_sums(scores, rows, weights),
            right_error=right_error,
            wrong_error=wrong_error,
            next_token=next_token,
            next_token_context=context,
            balance=balance * counts.of_balance(weights),
            balance_weight=counts.of_balance(weights),
        )
    return sums, scores


def make_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    weights: LossWeights,
    dtype: jnp.dtype,
    remat: Remat,
    layout: Layout | None = None,
    backend: Backend | None = None,
    accumulate: int = 1,
    most_right_tokens: int | None = None,
) -> Callable[[TrainState, nnx.State, Rows], tuple[TrainState, dict[str, Any]]]:
    """The jitted step `(state, frozen, rows) -> (state, metrics)`; `state`'s buffers are donated.

    With a `layout` the step runs on its mesh, and the new state lies as the old one. The rows are computed in
    `accumulate` equal parts, one after the other, which changes memory and rounding, nothing else, but for the balance
    of experts, which is that within each part (`moe.balance_loss`).
    """

    def step(state: TrainState, frozen: nnx.State, rows: Rows) -> tuple[TrainState, dict[str, Any]]:
        # Of the whole step, whatever the part: the parts' losses and gradients then just add up.
        counts = count(rows)

        def objective(params: nnx.State, part: Rows) -> tuple[jax.Array, Sums]:
            with placed(layout and layout.placed):
                model = nnx.merge(graph, params, frozen)
                sums = loss_sums(model, part, weights, dtype, remat, backend, most_right_tokens)
            return total_loss(sums, weights, counts), sums

        differentiate = jax.value_and_grad(objective, has_aux=True)
        (loss, sums), gradients = in_parts(differentiate, state.params, rows, accumulate, layout)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "sums": sums, "gradient_norm": optax.global_norm(gradients)}
        # Counted here, where rows are those of all processes.
        real = rows.group > 0
        metrics |= {"tokens": jnp.sum(real), "groups": jnp.sum(jnp.max(rows.slot_group, axis=1))}
        metrics["keys"] = jnp.sum(jnp.where(real, rows.positions + 1, 0), dtype=jnp.float32)
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
    most_right_tokens: int | None = None,
) -> Callable[[nnx.State, nnx.State, Rows], tuple[Sums, Float[Array, "B S"]]]:
    """The jitted `(trained, frozen, rows) -> (Sums, scores)` of held-out rows."""

    def evaluate(params: nnx.State, frozen: nnx.State, rows: Rows) -> tuple[Sums, Float[Array, "B S"]]:
        with placed(layout and layout.placed):
            model = nnx.merge(graph, params, frozen)
            return scored_sums(model, rows, weights, dtype, "none", backend, most_right_tokens)

    return jax.jit(evaluate) if layout is None else jax.jit(evaluate, out_shardings=layout.whole)
