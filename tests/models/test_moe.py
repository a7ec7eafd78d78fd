"""The experts: routing, a dispatch that drops nothing, its gradients, the balance loss, and the same on a mesh."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toolrm_jax.models.moe import apply_experts, balance_loss, permute, route

B, T, D, F, E, K = 2, 13, 8, 6, 5, 3


def arrays(*shapes, seed=0):
    return [jax.random.normal(key, shape) for key, shape in zip(jax.random.split(jax.random.key(seed), 9), shapes)]


def every_expert_on_every_token(x, weights, chosen, gate, up, down):
    """The oracle: all experts are computed for all tokens, and those not chosen get weight zero."""
    inner = jax.nn.silu(jnp.einsum("btd,edf->btef", x, gate)) * jnp.einsum("btd,edf->btef", x, up)
    share = jnp.sum(jax.nn.one_hot(chosen, gate.shape[0]) * weights[..., None], axis=2)
    return jnp.einsum("btef,efd,bte->btd", inner, down, share)


def choices(kind: str):
    """Which experts each token goes to; E stands for none."""
    random = np.random.default_rng(1)
    if kind == "all tokens to the same experts":
        return jnp.broadcast_to(jnp.array([4, 0, 2]), (B, T, K))
    spread = np.stack([random.permutation(E)[:K] for _ in range(B * T)]).reshape(B, T, K)
    if kind == "some tokens to none":
        spread[:, ::3] = E
    return jnp.array(spread)


@pytest.mark.parametrize("kind", ["spread", "all tokens to the same experts", "some tokens to none"])
def test_values_and_gradients_are_those_of_computing_every_expert_for_every_token(kind):
    x, weights, gate, up, down, ahead = arrays((B, T, D), (B, T, K), (E, D, F), (E, D, F), (E, F, D), (B, T, D))
    chosen = choices(kind)

    def both(apply):
        total = lambda x, w, *experts: jnp.sum(apply(x, w, chosen, *experts) * ahead)  # noqa: E731
        return jax.value_and_grad(total, argnums=range(5))(x, weights, gate, up, down)

    for ours, theirs in zip(jax.tree.leaves(both(apply_experts)), jax.tree.leaves(both(every_expert_on_every_token))):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_token_goes_to_its_likeliest_experts_with_their_probabilities(normalised):
    x, router = arrays((B, T, D), (D, E))
    probabilities, weights, chosen = route(x, router, K, normalised)
    for logits, p, w, c in zip(*(a.reshape(B * T, -1) for a in (x @ router, probabilities, weights, chosen))):
        exact = np.exp(np.float64(logits)) / np.exp(np.float64(logits)).sum()
        best = np.argsort(-exact)[:K]
        np.testing.assert_allclose(p, exact, rtol=1e-5)
        assert list(c) == list(best)
        np.testing.assert_allclose(w, exact[best] / (exact[best].sum() if normalised else 1), rtol=1e-5)


def test_the_balance_loss_is_that_of_transformers():
    torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    x, router = arrays((B, T, D), (D, E))
    probabilities, _, chosen = route(x, router, K, False)
    real = jnp.array(np.random.default_rng(0).random((B, T)) < 0.7)
    gates = torch.tensor(np.array((x @ router).reshape(B * T, E)))
    theirs = load_balancing_loss_func((gates,), E, K, torch.tensor(np.array(real, np.int64)))
    np.testing.assert_allclose(balance_loss(probabilities, chosen, real), float(theirs), rtol=1e-5)


def test_the_balance_loss_is_least_when_balanced():
    even = jnp.full((1, E, E), 1 / E)
    each_once = jnp.stack([jnp.roll(jnp.arange(E), n)[:K] for n in range(E)])[None]
    real = jnp.ones((1, E), bool)
    assert float(balance_loss(even, each_once, real)) == pytest.approx(K)
    one = jax.nn.one_hot(jnp.zeros((1, E), jnp.int32), E) * 0.9 + 0.02
    assert float(balance_loss(one, jnp.zeros((1, E, 1), jnp.int32), real)) == pytest.approx(E * 0.92)


def test_the_gradient_of_a_permutation_is_its_inverse():
    x, ahead = arrays((7, 2), (7, 2))
    order = jnp.array([3, 1, 6, 0, 2, 5, 4])
    _, pull = jax.vjp(lambda x: permute(x, order, jnp.argsort(order)), x)
    np.testing.assert_array_equal(pull(ahead)[0][order], ahead)


PROGRAM = """
import json, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from toolrm_jax.models.moe import apply_experts
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh
from toolrm_jax.parallel.rules import Placed

B, T, D, F, E, k = 4, 6, 8, 4, 8, 3
keys = jax.random.split(jax.random.key(0), 6)
shapes = ((B, T, D), (B, T, k), (E, D, F), (E, D, F), (E, F, D))
values = [0.5 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes)]
chosen = jax.random.randint(keys[5], (B, T, k), 0, E + 1)
def run(placement):
    def total(x, w, *experts):
        with placed(placement):
            return jnp.sum(jnp.sin(apply_experts(x, w, chosen, *experts)))
    return jax.jit(jax.value_and_grad(total, argnums=range(5)))(*values)
alone = jax.tree.leaves(run(None))
found = {}
for sizes in ({"expert": 2, "tensor": 2}, {"expert": 2, "context": 2}):
    mesh = make_mesh(MeshConfig(**({"data": 1, "fsdp": 1} | sizes)), B)
    meshed = jax.tree.leaves(run(Placed(mesh)))
    apart = [float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))) for a, b in zip(alone, meshed)]
    found[str(sizes)] = (max(apart), mesh.size)
print(json.dumps(found))
"""


def test_values_and_gradients_on_a_mesh_are_those_of_one_device():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 2
    assert all(apart < 1e-5 and devices == 4 for apart, devices in found.values()), found
