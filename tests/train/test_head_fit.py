"""The closed-form start of the head: a weighted ridge regression over the answers' tokens."""

from __future__ import annotations

import chz
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.train.test_loop import config, groups, model
from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.rows import stack
from toolrm_jax.models.attention import Visible
from toolrm_jax.train.head_fit import HeadFit, ridge_head, token_weights
from toolrm_jax.train.loop import train
from toolrm_jax.train.metrics import read_metrics


def rows(count: int = 2):
    source = RowSource(groups(20), 64, 24, count, 1, 0)
    return stack([source[index] for index in range(count)])


def test_right_and_wrong_tokens_weigh_alike_and_last_tokens_as_much_as_all_together():
    batch = rows()
    weight, label = map(np.asarray, token_weights(jax.tree.map(jnp.asarray, batch)))
    assert np.isclose(weight.sum(), 2)
    assert np.isclose(weight[label > 0].sum(), 1)
    assert np.isclose(weight[(batch.still_right == 0)].sum(), 1)
    assert not weight[batch.response == 0].any()
    row, slot = np.argwhere((batch.slot_group > 0) & batch.slot_right)[0]
    last = batch.score_at[row, slot]
    assert weight[row, last] > weight[row, last - 1] > 0


def test_the_solution_is_the_stationary_point_of_the_penalised_squares():
    random = np.random.default_rng(0)
    x, y, weight = random.normal(size=(50, 6)), random.choice([-1.0, 1.0], 50), random.random(50)
    gram, moment = np.einsum("n,nd,ne->de", weight, x, x), np.einsum("n,n,nd->d", weight, y, x)
    head = ridge_head(gram, moment, 0.1)
    penalty = 0.1 * np.diag(gram).mean()
    slope = jax.grad(lambda w: jnp.sum(weight * (x @ w - y) ** 2) + penalty * jnp.sum(w**2))(jnp.asarray(head))
    np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_training_starts_from_the_fitted_head(tmp_path):
    made = groups(60)
    asked = config(tmp_path, head_fit=HeadFit(steps=2, ridge=0.03), steps=1, optimizer=config(tmp_path).optimizer)
    asked = chz.replace(asked, optimizer=chz.replace(asked.optimizer, learning_rate=1e-9))
    fresh, trained = model(), model()
    train(asked, trained, made, made[40:])
    source = RowSource(made, 64, 24, 2, 2, asked.seed)
    batch = jax.tree.map(jnp.asarray, stack([source[index] for index in range(4)]))
    hidden = np.asarray(fresh(batch.tokens, batch.positions, Visible.of(batch.group, batch.response))[0])
    gram, moment = 0, 0
    for step in range(2):  # right and wrong are weighed alike within a step
        of_step = slice(2 * step, 2 * step + 2)
        weight, label = map(np.asarray, token_weights(stack([source[2 * step], source[2 * step + 1]])))
        gram = gram + np.einsum("bt,btd,bte->de", weight, hidden[of_step], hidden[of_step])
        moment = moment + np.einsum("bt,btd->d", weight * label, hidden[of_step])
    np.testing.assert_allclose(
        np.asarray(trained.score[...])[:, 0], ridge_head(gram, moment, 0.03), rtol=1e-3, atol=1e-4
    )
    assert read_metrics(tmp_path)[0]["correct"] > 0.5
    averaged = model()
    asked = chz.replace(asked, output=str(tmp_path / "mean"), optimizer=chz.replace(asked.optimizer, ema=0.9))
    train(asked, averaged, made, made[40:])
    mean, fitted = np.asarray(averaged.score[...]), np.asarray(trained.score[...])
    np.testing.assert_allclose(mean, fitted, atol=1e-6, err_msg="a running mean begins with the fitted head too")
    assert not np.any(np.asarray(nnx.split(fresh)[1]["score"].get_value()))
