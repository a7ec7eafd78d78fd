"""Flash attention over shared-prefix rows for GPUs, in Pallas on Triton: blocks that nobody sees are not read.

cuDNN (jax.nn.dot_product_attention) would need the mask as a bias of T x T values per row. Here every program has its
own list of the blocks to visit, made from the data (attention_blocks.py).

Shape letters: see attention.py; R queries and S keys of a block, J the length of a list.
Pallas on Triton is deprecated from jax 0.11 on, where it still works; its successor compiles for Hopper and later.
Method: Dao 2023 (FlashAttention-2), with one pass for dq and one for dk and dv.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from toolrm_jax.models.attention_blocks import Blocks, Seen, block_map, visits

HIDDEN = -1e30
# Accumulators of 64 x 128 and tiles of two operands stay within the registers and shared memory of an A100 or newer.
LARGEST = 64
WARPS, STAGES = 4, 2

Grouped = Float[Array, "B K G T H"]
Keys = Float[Array, "B K S H"]
PerQuery = Float[Array, "B K G T"]


def forward(
    q: Grouped, k: Keys, v: Keys, seen: Seen, start: Array, blocks: Blocks, interpret: bool
) -> tuple[Grouped, PerQuery]:
    """Attention of scaled queries, and the log-sum-exp of each query's scores in float32.

    `start` is the index of the first query among the keys. Temporary memory: none that grows with T x S but the lists,
    4 x B x (T / 64) x (S / 64) bytes.
    """
    head_dim, (q, k, v) = q.shape[-1], (_power_of_two(x) for x in (q, k, v))
    call = _Call(q, k, seen, start, blocks, interpret)
    parts = call.q(q), call.whole_k(k), call.whole_k(v)
    out, lse = call(_forward_kernel, call.by_query, visits(call.some), parts, ("q", "s"), v.dtype)
    return out[..., :head_dim], lse


def backward(
    q: Grouped,
    k: Keys,
    v: Keys,
    seen: Seen,
    start: Array,
    blocks: Blocks,
    out: Grouped,
    lse: PerQuery,
    d_out: Grouped,
    interpret: bool,
) -> tuple[Grouped, Keys, Keys]:
    """Gradients of `forward` by q, k and v, in their dtypes, accumulated in float32.

    Temporary memory: B x N x T float32 (the sum of out x d_out per query), and two lists.
    """
    head_dim = q.shape[-1]
    delta = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
    q, k, v, d_out = (_power_of_two(x) for x in (q, k, v, d_out.astype(v.dtype)))
    call = _Call(q, k, seen, start, blocks, interpret)
    parts = (call.q(q), call.whole_k(k), call.whole_k(v), call.q(d_out), call.s(lse), call.s(delta))
    (dq,) = call(_dq_kernel, call.by_query, visits(call.some), parts, ("q",), q.dtype)
    parts = (
        call.whole_q(q), call.k(k), call.k(v), call.whole_q(d_out), call.whole_s(lse), call.whole_s(delta)
    )  # fmt: skip
    dk, dv = call(_dkv_kernel, call.by_key, visits(call.some.swapaxes(1, 2)), parts, ("k", "k"), k.dtype)
    return dq[..., :head_dim], dk[..., :head_dim], dv[..., :head_dim]


def _power_of_two(x: Array) -> Array:
    """The last axis filled up with zeros, which change no product, to a size that Triton takes."""
    size = max(16, 1 << (x.shape[-1] - 1).bit_length())
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])


class _Call:
    """A pallas_call with a program for each block, head and row; a part says which piece of its array one sees."""

    def __init__(self, q: Array, k: Array, seen: Seen, start: Array, blocks: Blocks, interpret: bool) -> None:
        self.B, self.K, self.G, self.T, self.H = q.shape
        self.S = k.shape[2]
        self.blocks = Blocks(min(blocks.query, LARGEST), min(blocks.key, LARGEST))
        self.last, self.start, self.interpret = seen, start, interpret
        self.some = block_map(seen, self.T, start, self.blocks)[0]
        # Programs by query run over heads, those by key over key-value heads: the first sum over keys, the others also
        # over the heads of a group.
        self.by_query = (self.T // self.blocks.query, self.K * self.G, self.B)
        self.by_key = (self.S // self.blocks.key, self.K, self.B)

    def q(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """A block of one head's queries: [R, H]."""
        shape = (None, None, None, self.blocks.query, self.H)
        return x, pl.BlockSpec(shape, lambda i, n, b: (b, n // self.G, n % self.G, i, 0))

    def s(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """A number for each of a block of one head's queries: [R]."""
        return x, pl.BlockSpec((None, None, None, self.blocks.query), lambda i, n, b: (b, n // self.G, n % self.G, i))

    def k(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """A block of one head's keys: [S, H]."""
        return x, pl.BlockSpec((None, None, self.blocks.key, self.H), lambda j, n, b: (b, n, j, 0))

    def whole_q(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """All queries of a group of heads: [G, T, H]."""
        return x, pl.BlockSpec((None, None, self.G, self.T, self.H), lambda j, n, b: (b, n, 0, 0, 0))

    def whole_s(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """A number for each query of a group of heads: [G, T]."""
        return x, pl.BlockSpec((None, None, self.G, self.T), lambda j, n, b: (b, n, 0, 0))

    def whole_k(self, x: Array) -> tuple[Array, pl.BlockSpec]:
        """All keys of one head: [S, H]."""
        return x, pl.BlockSpec((None, None, self.S, self.H), lambda i, n, b: (b, n // self.G, 0, 0))

    def __call__(
        self,
        kernel: Callable,
        grid: tuple[int, int, int],
        lists: tuple[Array, Array],
        parts: tuple[tuple[Array, pl.BlockSpec], ...],
        outputs: tuple[str, ...],
        dtype: Any,
    ) -> list[Array]:
        order, count = lists
        parts = (
            *parts,
            (self.last, pl.BlockSpec((None, self.S), lambda i, n, b: (b, 0))),
            (order, pl.BlockSpec((None, None, order.shape[2]), lambda i, n, b: (b, i, 0))),
            (count, pl.BlockSpec((None, order.shape[1]), lambda i, n, b: (b, 0))),
            (jnp.asarray(self.start, jnp.int32).reshape(1), pl.BlockSpec((1,), lambda i, n, b: (0,))),
        )
        shapes = {
            "q": jax.ShapeDtypeStruct((self.B, self.K, self.G, self.T, self.H), dtype),
            "s": jax.ShapeDtypeStruct((self.B, self.K, self.G, self.T), jnp.float32),
            "k": jax.ShapeDtypeStruct((self.B, self.K, self.S, self.H), dtype),
        }
        made = [getattr(self, letter)(shapes[letter]) for letter in outputs]
        return pl.pallas_call(
            lambda *refs: kernel(self.blocks, *refs),
            grid=grid,
            in_specs=[spec for _, spec in parts],
            out_specs=[spec for _, spec in made],
            out_shape=[shape for shape, _ in made],
            compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=STAGES),
            name=kernel.__name__.strip("_"),
            interpret=self.interpret,
        )(*(array for array, _ in parts))


def _scores(q: Array, k: Array, query: Any, key: Any, last: Any, start: Any, blocks: Blocks) -> Float[Array, "R S"]:
    """Scores of a block of queries and a block of keys, HIDDEN where not seen."""
    index_q = (start[0] + query * blocks.query + jnp.arange(blocks.query))[:, None]
    index_k = (key * blocks.key + jnp.arange(blocks.key))[None, :]
    seen = (index_k <= index_q) & (index_q <= last[pl.ds(key * blocks.key, blocks.key)][None, :])
    return jnp.where(seen, plgpu.dot(q, k, trans_b=True), HIDDEN)


def _forward_kernel(blocks, q, k, v, last, order, count, start, out, lse):
    query = pl.program_id(0)
    queries = q[...]

    def visit(n: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        sums, top, total = carry
        key = order[n]
        at = pl.ds(key * blocks.key, blocks.key)
        scores = _scores(queries, k[at, :], query, key, last, start, blocks)
        higher = jnp.maximum(top, scores.max(axis=1))
        weights = jnp.exp(scores - higher[:, None])
        fade = jnp.exp(top - higher)
        sums = sums * fade[:, None] + plgpu.dot(weights.astype(v.dtype), v[at, :])
        return sums, higher, total * fade + weights.sum(axis=1)

    nothing = (
        jnp.zeros(q.shape, jnp.float32),
        jnp.full(q.shape[:1], -jnp.inf, jnp.float32),
        jnp.zeros(q.shape[:1], jnp.float32),
    )
    sums, top, total = jax.lax.fori_loop(0, count[query], visit, nothing)
    out[...] = (sums / total[:, None]).astype(out.dtype)
    lse[...] = top + jnp.log(total)


def _dq_kernel(blocks, q, k, v, d_out, lse, delta, last, order, count, start, dq):
    query = pl.program_id(0)
    queries, d_outs, lses, deltas = q[...], d_out[...], lse[...], delta[...]

    def visit(n: Array, sums: Array) -> Array:
        key = order[n]
        at = pl.ds(key * blocks.key, blocks.key)
        scores = _scores(queries, k[at, :], query, key, last, start, blocks)
        weights = jnp.exp(scores - lses[:, None])
        d_scores = weights * (plgpu.dot(d_outs, v[at, :], trans_b=True) - deltas[:, None])
        return sums + plgpu.dot(d_scores.astype(k.dtype), k[at, :])

    dq[...] = jax.lax.fori_loop(0, count[query], visit, jnp.zeros(q.shape, jnp.float32)).astype(dq.dtype)


def _dkv_kernel(blocks, q, k, v, d_out, lse, delta, last, order, count, start, dk, dv):
    key = pl.program_id(0)
    keys_here, values_here = k[...], v[...]
    heads = jnp.int32(q.shape[0])

    def visit(n: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        sums_k, sums_v = carry
        query, g = order[jax.lax.div(n, heads)], jax.lax.rem(n, heads)
        at = pl.ds(query * blocks.query, blocks.query)
        queries, d_outs = q[g, at, :], d_out[g, at, :]
        scores = _scores(queries, keys_here, query, key, last, start, blocks)
        weights = jnp.exp(scores - lse[g, at][:, None])
        d_scores = weights * (plgpu.dot(d_outs, values_here, trans_b=True) - delta[g, at][:, None])
        sums_v += plgpu.dot(weights.astype(v.dtype), d_outs, trans_a=True)
        sums_k += plgpu.dot(d_scores.astype(q.dtype), queries, trans_a=True)
        return sums_k, sums_v

    nothing = jnp.zeros(k.shape, jnp.float32)
    sums_k, sums_v = jax.lax.fori_loop(0, count[key] * heads, visit, (nothing, nothing))
    dk[...], dv[...] = sums_k.astype(dk.dtype), sums_v.astype(dv.dtype)
