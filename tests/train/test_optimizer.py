"""The update rule: schedule by hand, AdamW by optax's own, and what is left alone."""

from __future__ import annotations

import chz
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from toolrm_jax.train.layout import where_it_divides
from toolrm_jax.train.optimizer import OptimizerConfig, decayed, judged_weights, make_optimizer, schedule


def test_the_rate_rises_to_its_peak_and_falls_to_its_floor():
    config = OptimizerConfig(learning_rate=1.0, warmup=0.1, final=0.1)
    rate = schedule(config, 100)
    assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1.0])
    assert float(rate(55)) == pytest.approx(0.55)  # half way down: the mean of peak and floor
    assert float(rate(100)) == pytest.approx(0.1)


def test_it_may_fall_along_a_line_or_stay_at_its_peak_after_the_same_warm_up():
    asked = OptimizerConfig(learning_rate=1.0, warmup=0.1, final=0.1)
    shapes = {name: schedule(chz.replace(asked, schedule=name), 100) for name in ("cosine", "linear", "constant")}
    for rate in shapes.values():
        assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1.0])
    # From 1 at step 10 to 0.1 at step 100: a hundredth a step.
    assert [float(shapes["linear"](step)) for step in (11, 55, 100)] == pytest.approx([0.99, 0.55, 0.1])
    assert [float(shapes["constant"](step)) for step in (11, 55, 100)] == pytest.approx([1.0] * 3)
    # A cosine is above the line before the middle, and below it after.
    assert float(shapes["cosine"](30)) > float(shapes["linear"](30)) > float(shapes["cosine"](80))
    assert float(shapes["cosine"](80)) < float(shapes["linear"](80))


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_a_run_of_one_step_has_a_rate_whatever_the_schedule(shape):
    assert float(schedule(OptimizerConfig(learning_rate=1.0, schedule=shape), 1)(0)) == 1.0


def params():
    random = np.random.default_rng(0)
    return {
        "q": jnp.asarray(random.normal(size=(3, 2))),
        "norm": jnp.ones(2),
        "score": jnp.asarray(random.normal(size=(2, 1))),
    }


def test_updates_are_those_of_adamw_with_the_head_scaled_and_norms_not_decayed():
    config = OptimizerConfig(learning_rate=0.1, head_multiplier=3.0, weight_decay=0.2, clip=1e9)
    ours = make_optimizer(config, 10)
    theirs = optax.adamw(schedule(config, 10), b1=0.9, b2=0.95, weight_decay=0.2, mask=decayed)
    state, reference = ours.init(params()), theirs.init(params())
    gradients = jax.tree.map(lambda x: x * 0.3 + 0.1, params())
    for _ in range(3):
        update, state = ours.update(gradients, state, params())
        expected, reference = theirs.update(gradients, reference, params())
        np.testing.assert_allclose(update["q"], expected["q"], rtol=1e-6)
        np.testing.assert_allclose(update["norm"], expected["norm"], rtol=1e-6)
        np.testing.assert_allclose(update["score"], 3 * expected["score"], rtol=1e-6)
    assert decayed(params()) == {"q": True, "norm": False, "score": True}


def test_gradients_are_clipped_by_their_global_norm():
    updates, _ = optax.clip_by_global_norm(1.0).update({"a": jnp.array([3.0, 4.0])}, optax.EmptyState())
    config = OptimizerConfig(learning_rate=1.0, clip=1.0, warmup=0.0)
    large = make_optimizer(config, 10)
    _, state = large.update({"a": jnp.array([3.0, 4.0])}, large.init({"a": jnp.zeros(2)}), {"a": jnp.zeros(2)})
    moment = next(part.mu["a"] for part in state if hasattr(part, "mu"))
    np.testing.assert_allclose(moment, 0.1 * updates["a"], rtol=1e-6)


def test_the_running_mean_follows_the_weights_and_is_what_is_judged():
    config = OptimizerConfig(learning_rate=0.1, ema=0.75)
    plain, averaged = make_optimizer(chz.replace(config, ema=0.0), 10), make_optimizer(config, 10)
    gradients = jax.tree.map(lambda x: x * 0.3 + 0.1, params())
    weights, state, mean = params(), averaged.init(params()), params()
    expected, other = params(), plain.init(params())
    for _ in range(3):
        update, state = averaged.update(gradients, state, weights)
        weights = optax.apply_updates(weights, update)
        change, other = plain.update(gradients, other, expected)
        expected = optax.apply_updates(expected, change)
        mean = jax.tree.map(lambda mean, new: 0.75 * mean + 0.25 * new, mean, weights)
    for name in weights:
        np.testing.assert_array_equal(weights[name], expected[name])
        np.testing.assert_allclose(judged_weights(weights, state)[name], mean[name], rtol=1e-6)
    assert judged_weights(weights, other) is weights, "without a mean the weights themselves are"


def test_the_first_moment_can_be_kept_in_half_the_memory():
    config = OptimizerConfig(learning_rate=0.1, first_moment="bfloat16")
    state = make_optimizer(config, 10).init(params())
    adam = next(part for part in state if hasattr(part, "mu"))
    assert {leaf.dtype for leaf in adam.mu.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in adam.nu.values()} == {jnp.dtype("float32")}


def matrices():
    """A stack of matrices that are factored, one that is not for its size, a vector, and one by heads."""
    random = np.random.default_rng(0)
    shapes = {"up": (2, 130, 140), "v": (2, 130, 4), "norm": (140,), "q": (2, 150, 3, 128)}
    return {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def steps(config: OptimizerConfig, gradients: list[dict]) -> list[dict]:
    rule, out = make_optimizer(config, 10), []
    state, step = rule.init(matrices()), jax.jit(rule.update)
    for one in gradients:
        update, state = step(one, state, matrices())
        out.append(update)
    return out


def test_a_factored_second_moment_is_adams_where_squares_have_rank_one_and_where_it_is_kept_whole():
    random = np.random.default_rng(1)
    # Rank one at every step with one column vector: so are sums of squares over steps.
    columns = {name: random.normal(size=weight.shape[-1]) for name, weight in matrices().items()}

    def gradient(number: int) -> dict:
        made = {name: random.normal(size=weight.shape) for name, weight in matrices().items()}
        for name in ("up", "q"):
            made[name] = random.normal(size=(*made[name].shape[:-1], 1)) * columns[name]
        return {name: jnp.asarray(value, jnp.float32) for name, value in made.items()}

    given = [gradient(number) for number in range(4)]
    config = OptimizerConfig(learning_rate=0.1, clip=1e9)
    for ours, theirs in zip(steps(chz.replace(config, second_moment="factored"), given), steps(config, given)):
        for name, value in theirs.items():
            # Steps of 0.1 that cancel leave rounding errors of 1e-8 beside which a rest may be small.
            np.testing.assert_allclose(ours[name], value, rtol=2e-4, atol=2e-8, err_msg=name)


def test_the_factored_state_is_as_small_as_its_rows_and_columns():
    config = OptimizerConfig(second_moment="factored", first_moment="bfloat16")
    size = lambda config: sum(leaf.nbytes for leaf in jax.tree.leaves(make_optimizer(config, 10).init(matrices())))  # noqa: E731
    weights = matrices()
    values = sum(leaf.size for leaf in weights.values())
    whole = weights["v"].size + weights["norm"].size + 2
    factors = 2 * (130 + 140) + 2 * 3 * (150 + 128)
    assert size(config) == 2 * values + 4 * (whole + factors) + 8  # and two counters
    assert size(OptimizerConfig()) == 8 * values + 8


def test_a_moment_lies_as_its_weight_does_but_whole_where_it_is_a_mean():
    mesh = jax.sharding.AbstractMesh((4, 2), ("fsdp", "tensor"))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, ("fsdp",), "tensor"))
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)  # noqa: E731
    assert where_it_divides(sharding, shape(2, 8, 6)) is sharding
    assert where_it_divides(sharding, shape(2, 1, 6)).spec == jax.sharding.PartitionSpec(None, None, "tensor")
    assert where_it_divides(sharding, shape(2, 8, 1)).spec == jax.sharding.PartitionSpec(None, ("fsdp",), None)
