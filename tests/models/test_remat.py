"""What is kept for the backward pass changes memory, never the result; and depth does not change what is compiled."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.remat import Remat

DENSE = TrunkConfig("qwen3", 64, 32, 128, 6, 4, 2, 8, 1e4, 1e-6, 512, True)
EXPERTS = dataclasses.replace(
    DENSE, model_type="qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24
)
POLICIES = get_args(Remat)


def lowered(config: TrunkConfig, remat: Remat):
    """Loss and gradients of a row of one group of three answers, lowered with the values to run it on."""
    model = RewardModel(config, rngs=nnx.Rngs(0))
    model.score[...] = jax.random.normal(jax.random.key(1), model.score[...].shape)
    graph, state = nnx.split(model)
    length = 128
    tokens = jnp.arange(length)[None] * 7 % 61
    response = jnp.arange(length)[None] // 32
    visible = Visible.of(jnp.ones_like(tokens), response)

    def loss(state):
        _, rewards, balance = nnx.merge(graph, state).with_balance(tokens, tokens % 61, visible, remat=remat)
        return jnp.sum(jnp.sin(rewards)) + 0.1 * balance

    return jax.jit(jax.value_and_grad(loss)).lower(state), state


@functools.cache
def compiled(experts: bool, remat: Remat):
    program, state = lowered(EXPERTS if experts else DENSE, remat)
    program = program.compile()
    return program.memory_analysis().temp_size_in_bytes, jax.tree.map(np.asarray, program(state))


@pytest.mark.parametrize(
    ("experts", "remat"), [(False, policy) for policy in POLICIES if policy != "none"] + [(True, "full")]
)
def test_loss_and_gradients_are_those_of_keeping_everything(experts, remat):
    kept, again = compiled(experts, "none")[1], compiled(experts, remat)[1]
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_the_policies_stand_in_the_order_of_their_memory():
    memory = {policy: compiled(False, policy)[0] for policy in POLICIES}
    # On so short a row what `attention` keeps is less than what making it again takes for a moment.
    least = max(memory["full"], memory["attention"])
    assert least < memory["dots_no_batch"] < memory["dots"] < memory["none"], memory


def test_a_program_of_forty_layers_is_that_of_ten():
    programs = [
        lowered(dataclasses.replace(config, num_hidden_layers=layers), "full")[0].as_text()
        for config in (DENSE, EXPERTS)
        for layers in (10, 40)
    ]
    assert programs[0].count("\n") == programs[1].count("\n")
    assert programs[2].count("\n") == programs[3].count("\n")


@pytest.mark.slow
def test_compiling_forty_layers_takes_at_most_1_3_times_as_long_as_ten():
    """Processor time: other programs on the machine do not count."""

    def seconds(layers: int) -> float:
        program = lowered(dataclasses.replace(DENSE, num_hidden_layers=layers), "none")[0]
        start = time.process_time()
        program.compile()
        return time.process_time() - start

    seconds(2)
    ten, forty = seconds(10), seconds(40)
    print(f"10 layers {ten:.2f} s, 40 layers {forty:.2f} s, ratio {forty / ten:.2f}")
    assert forty <= 1.3 * ten
