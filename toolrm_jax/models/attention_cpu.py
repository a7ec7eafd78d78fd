"""Flash attention over shared-prefix rows for CPUs, in plain XLA: loops over the blocks that somebody sees.

The reference computes every score that causality leaves. In a row of several groups and answers most of them are seen
by nobody, and on a CPU their exponentials cost more than all matrix products of the layer. Here every block of queries
has its own list of blocks of keys, made from the data (attention_blocks.py), and what is at work stays in the cache.

Shape letters: see attention.py; R queries and S keys of a block, I the blocks of queries in a row.
Method: Dao 2023 (FlashAttention-2), with one pass for all gradients.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from toolrm_jax.models.attention_blocks import Blocks, Seen, block_map, visits

HIDDEN = -1e30
# Scores of one block, for three heads over one key head 24 KiB, stay in a core's first cache.
LARGEST = Blocks(query=64, key=32)

Grouped = Float[Array, "B K G T H"]
Keys = Float[Array, "B K S H"]
PerQuery = Float[Array, "B K G T"]


def forward(
    q: Grouped, k: Keys, v: Keys, seen: Seen, start: Array, blocks: Blocks, interpret: bool
) -> tuple[Grouped, PerQuery]:
    """Attention of scaled queries, and the log-sum-exp of each query's scores in float32.

    `start` is the index of the first query among the keys; nothing is interpreted, whatever `interpret` says.
    Temporary memory: none that grows with T x S but the lists, 4 x B x (T / 64) x (S / 32) bytes.
    """
    loops = _Loops(q, k, v, seen, start, blocks)

    def one_block(n: Array) -> tuple[Array, Array]:
        q_KRH = loops.of_queries(q, n)

        def visit(key: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            sums, top, total = carry
            scores = loops.scores(q_KRH, n, key)
            higher = jnp.maximum(top, scores.max(axis=-1))
            weights = jnp.exp(scores - higher[..., None])
            fade = jnp.exp(top - higher)
            sums = sums * fade[..., None] + _dot("krs,ksh->krh", weights.astype(v.dtype), loops.of_keys(v, n, key))
            return sums, higher, total * fade + weights.sum(axis=-1)

        nothing = jnp.zeros(q_KRH.shape, jnp.float32)
        first = nothing, jnp.full(q_KRH.shape[:2], -jnp.inf), nothing[..., 0]
        sums, top, total = loops.over_keys(n, visit, first)
        return (sums / total[..., None]).astype(v.dtype), top + jnp.log(total)

    out, lse = lax.map(one_block, loops.all_blocks)
    return loops.rows(out), loops.rows(lse)


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

    Temporary memory: B x N x T float32 (the sum of out x d_out per query), the lists, and k's and v's gradients.
    """
    loops = _Loops(q, k, v, seen, start, blocks)
    delta = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
    d_out = d_out.astype(v.dtype)

    def one_block(sums: tuple[Array, Array], n: Array) -> tuple[tuple[Array, Array], Array]:
        q_KRH, d_out_KRH, lse_KR, delta_KR = (loops.of_queries(x, n) for x in (q, d_out, lse, delta))

        def visit(key: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            dq, dk, dv = carry
            weights = jnp.exp(loops.scores(q_KRH, n, key) - lse_KR[..., None])
            d_weights = _dot("krh,ksh->krs", d_out_KRH, loops.of_keys(v, n, key))
            d_scores = (weights * (d_weights - delta_KR[..., None])).astype(q.dtype)
            dq += _dot("krs,ksh->krh", d_scores, loops.of_keys(k, n, key))
            dk = loops.add_to_keys(dk, n, key, _dot("krs,krh->ksh", d_scores, q_KRH))
            return dq, dk, loops.add_to_keys(dv, n, key, _dot("krs,krh->ksh", weights.astype(v.dtype), d_out_KRH))

        dq, *sums = loops.over_keys(n, visit, (jnp.zeros(q_KRH.shape, jnp.float32), *sums))
        return tuple(sums), dq.astype(q.dtype)

    nothing = jnp.zeros(k.shape, jnp.float32)
    (dk, dv), dq = lax.scan(one_block, (nothing, nothing), loops.all_blocks)
    return loops.rows(dq), dk.astype(k.dtype), dv.astype(v.dtype)


def _dot(equation: str, a: Array, b: Array) -> Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


class _Loops:
    """Blocks of queries are numbered over all rows, n = row * I + block; blocks of keys within their row."""

    def __init__(self, q: Array, k: Array, v: Array, seen: Seen, start: Array, blocks: Blocks) -> None:
        self.B, self.K, self.G, self.T, self.H = q.shape
        self.size = Blocks(min(blocks.query, LARGEST.query), min(blocks.key, LARGEST.key))
        self.k, self.last, self.start = k, seen, start
        self.I = self.T // self.size.query
        self.order, self.count = visits(block_map(seen, self.T, start, self.size)[0])
        self.all_blocks = jnp.arange(self.B * self.I)

    def over_keys(self, n: Array, visit: Any, first: Any) -> Any:
        """Fold `visit(block of keys, carry)` over the blocks of keys that block n of queries sees something of."""
        row, block = n // self.I, n % self.I
        return lax.fori_loop(0, self.count[row, block], lambda s, carry: visit(self.order[row, block, s], carry), first)

    def of_queries(self, x: Array, n: Array) -> Array:
        """Block n of an array [B, K, G, T, ...], the heads of a group side by side: [K, G * R, ...]."""
        R, rest = self.size.query, x.shape[4:]
        at = (n // self.I, 0, 0, n % self.I * R, *(0 for _ in rest))
        return lax.dynamic_slice(x, at, (1, self.K, self.G, R, *rest)).reshape(self.K, self.G * R, *rest)

    def of_keys(self, x: Array, n: Array, key: Array) -> Array:
        """A block of keys [K, S, H] of the row of block n."""
        S = self.size.key
        return lax.dynamic_slice(x, (n // self.I, 0, key * S, 0), (1, self.K, S, self.H))[0]

    def add_to_keys(self, x: Array, n: Array, key: Array, more: Array) -> Array:
        """The array with `more` [K, S, H] added to a block of keys, in place within a loop."""
        at = (n // self.I, 0, key * self.size.key, 0)
        return lax.dynamic_update_slice(x, self.of_keys(x, n, key)[None] + more, at)

    def scores(self, q_KRH: Array, n: Array, key: Array) -> Float[Array, "K R S"]:
        """Scores of a block of queries, all heads, and a block of keys, HIDDEN where not seen."""
        (R, S), row, block = (self.size.query, self.size.key), n // self.I, n % self.I
        last = lax.dynamic_slice(self.last, (row, key * S), (1, S))
        index_q, index_k = (self.start + block * R + jnp.arange(R))[:, None], key * S + jnp.arange(S)
        seen = (index_k <= index_q) & (index_q <= last)
        scores = _dot("krh,ksh->krs", q_KRH, self.of_keys(self.k, n, key)).reshape(self.K, self.G, R, S)
        return jnp.where(seen, scores, HIDDEN).reshape(self.K, self.G * R, S)

    def rows(self, blocks: Array) -> Array:
        """Results of all blocks [B * I, K, G * R, ...] as [B, K, G, T, ...]."""
        R, rest = self.size.query, blocks.shape[3:]
        apart = blocks.reshape(self.B, self.I, self.K, self.G, R, *rest)
        return jnp.moveaxis(apart, 1, 3).reshape(self.B, self.K, self.G, self.T, *rest)
