"""The kernels give the reference's values and gradients, and touch nothing that nobody sees. Interpreted on the CPU."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from jax.ad_checkpoint import print_saved_residuals

from tests.models.rows import LENGTH, groups, laid_out, seen_pairs, spans, with_spans
from toolrm_jax.models.attention import Visible, attend
from toolrm_jax.models.attention_backend import self_check
from toolrm_jax.models.attention_flash import Flash
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.layers import Layer
from toolrm_jax.models.remat import ATTENDED, rematerialised

KERNELS = ("tpu", "gpu", "cpu")
SMALL = {"heads": 4, "kv_heads": 2, "head_dim": 8}


def inputs(rows: int, length: int, heads: int, kv_heads: int, head_dim: int, dtype=np.float32) -> list[np.ndarray]:
    """q, k, v and the gradient of the output."""
    random = np.random.default_rng(0)
    counts = (heads, kv_heads, kv_heads, heads)
    return [random.normal(size=(rows, length, count, head_dim)).astype(dtype) for count in counts]


@functools.cache
def compiled(backend):
    @jax.jit
    def run(q, k, v, d_out, visible):
        out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, visible, backend), q, k, v)
        return (out, *pull(d_out))

    return run


def results(backend, arrays, visible) -> list[np.ndarray]:
    """Output and gradients by q, k, v, float32."""
    return [np.asarray(x.astype(jnp.float32)) for x in compiled(backend)(*arrays, visible)]


def assert_close(ours, theirs):
    for name, a, b in zip(("output", "dq", "dk", "dv"), ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(np.abs(b).max(), 1), err_msg=name)


def by_pairs(arrays, visible: Visible) -> np.ndarray:
    """The contract in float64: softmax over the pairs that are seen."""
    q, k, v, _ = (np.asarray(x, np.float64) for x in arrays)
    share = q.shape[2] // k.shape[2]
    scores = np.einsum("btnh,bsnh->bnts", q, k.repeat(share, 2)) * q.shape[-1] ** -0.5
    scores = np.where(seen_pairs(visible)[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), v.repeat(share, 2))


@given(row=groups)
@settings(max_examples=15, deadline=None)
def test_the_reference_is_softmax_over_the_pairs_of_the_contract(row):
    visible, arrays = laid_out(row), inputs(1, LENGTH, **SMALL)
    np.testing.assert_allclose(results(None, arrays, visible)[0], by_pairs(arrays, visible), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@given(row=groups)
@settings(max_examples=15, deadline=None)
def test_values_and_gradients_are_those_of_the_reference_on_any_groups(kernel, row):
    visible, arrays = laid_out(row), inputs(1, LENGTH, **SMALL)
    ours = results(Flash(kernel, block=128, interpret=True), arrays, visible)
    assert_close(ours, results(None, arrays, visible))


@pytest.mark.parametrize("kernel", KERNELS)
@given(spans=spans)
@settings(max_examples=5, deadline=None)
def test_values_and_gradients_are_those_of_the_reference_whoever_sees_whom(kernel, spans):
    visible, arrays = with_spans(spans), inputs(1, LENGTH, **SMALL)
    ours = results(Flash(kernel, block=128, interpret=True), arrays, visible)
    assert_close(ours, results(None, arrays, visible))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("block", "heads", "kv_heads", "head_dim"), [(128, 3, 1, 24), (256, 4, 2, 8), (512, 2, 2, 16)])
def test_sizes_of_blocks_and_heads_change_nothing(kernel, block, heads, kv_heads, head_dim):
    rows = [(300, [40, 1, 90, 33]), (30, [5])], [(10, [3, 4]), (200, [150, 100])]
    visible, arrays = laid_out(*rows, length=512), inputs(2, 512, heads, kv_heads, head_dim)
    ours = results(Flash(kernel, block=block, interpret=True), arrays, visible)
    assert_close(ours, results(None, arrays, visible))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("length", [1, 129])
def test_rows_of_any_length_are_padded_and_cut_back(kernel, length):
    visible, arrays = laid_out([(50, [30, 30]), (100, [60])], length=length), inputs(1, length, **SMALL)
    ours = results(Flash(kernel, interpret=True), arrays, visible)
    assert ours[0].shape == arrays[0].shape
    assert_close(ours, results(None, arrays, visible))


@pytest.mark.parametrize("kernel", KERNELS)
def test_padding_sees_itself_alone_and_nothing_sees_padding(kernel):
    visible, arrays = laid_out([(60, [40])]), inputs(1, LENGTH, **SMALL)
    out = results(Flash(kernel, block=128, interpret=True), arrays, visible)[0]
    np.testing.assert_allclose(out[0, 100:], arrays[2][0, 100:].repeat(2, axis=1), rtol=1e-6)
    poisoned = [np.where(visible.real[..., None, None], x, 1e4).astype(np.float32) for x in arrays]
    after = results(Flash(kernel, block=128, interpret=True), poisoned, visible)
    before = results(None, arrays, visible)
    for ours, theirs in zip(after, before):
        np.testing.assert_allclose(ours[0, :100], theirs[0, :100], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_that_nobody_sees_are_not_computed(kernel):
    # Nothing times NaN is NaN: were a hidden block only masked, it would spoil what looks at it.
    visible, arrays = laid_out([(100, [28]), (90, [38])]), inputs(1, LENGTH, **SMALL)
    backend = Flash(kernel, block=128, interpret=True)
    clean = results(None, arrays, visible)
    poisoned = [x.copy() for x in arrays]
    for x in poisoned:
        x[:, :128] = np.nan
    for ours, theirs in zip(results(backend, poisoned, visible), clean):
        assert np.isnan(ours[:, :128]).all()
        np.testing.assert_allclose(ours[:, 128:], theirs[:, 128:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_in_bfloat16_the_distance_to_float32_is_that_of_the_reference(kernel):
    visible = laid_out([(130, [40, 1, 33]), (30, [5])])
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in inputs(1, LENGTH, 2, 1, 64)]
    truth = results(None, [x.astype(jnp.float32) for x in rounded], visible)
    ours, theirs = (results(b, rounded, visible) for b in (Flash(kernel, block=128, interpret=True), None))
    for name, a, b, exact in zip(("output", "dq", "dk", "dv"), ours, theirs, truth):
        far_a, far_b = (np.sqrt(np.mean((x - exact) ** 2)) for x in (a, b))
        assert far_a <= 1.2 * far_b, (name, far_a, far_b)
        assert far_a <= 0.01 * np.sqrt(np.mean(exact**2)), name


def test_the_gpu_kernels_lower_to_triton():
    # Without a GPU this much can be held: the programs are translated, and are three.
    x = lambda heads: jax.ShapeDtypeStruct((2, 1280, heads, 128), jnp.bfloat16)  # noqa: E731
    ids = jax.ShapeDtypeStruct((2, 1280), jnp.int32)
    traced = compiled(Flash("gpu")).trace(x(8), x(2), x(2), x(8), Visible(ids, ids))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 3
    assert "1280x1280" not in text, "no T x T array"


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU is here; the kernels ran interpreted above")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_on_a_gpu_values_and_gradients_are_those_of_the_reference(dtype):
    line = self_check(Flash("gpu"), heads=8, kv_heads=2, head_dim=128, dtype=dtype)
    assert "equals the reference" in line


@pytest.mark.parametrize(("backend", "kept"), [(None, 1), (Flash("tpu", interpret=True), 2)])
def test_under_remat_a_layer_keeps_attentions_output_once_and_the_kernels_log_sum_exp(backend, kept, capsys):
    layer = Layer(TrunkConfig("qwen3", 50, 16, 24, 1, 2, 1, 8, 1e4, 1e-6, 64, True), rngs=nnx.Rngs(0))
    graph, weights = nnx.split(layer)
    angles, ids = jnp.ones((1, 128, 1, 8)), jnp.ones((1, 128), jnp.int32)

    def body(x, weights):
        return nnx.merge(graph, weights)(x, angles, angles, Visible.of(ids, ids), backend)[0]

    print_saved_residuals(rematerialised(body, "attention"), jnp.ones((1, 128, 16)), weights)
    assert capsys.readouterr().out.count(f"named '{ATTENDED}'") == kept
