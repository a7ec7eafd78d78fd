"""Flash attention over shared-prefix rows for TPUs, in Pallas: blocks that nobody sees are neither computed nor read.

Shape letters: see attention.py; R queries and S keys of a block. Scores are held transposed, [S, R]: then a query's
maximum, sum and log-sum-exp are rows, which broadcast over scores without a change of layout.

The grid is (key-value heads, steps), where the steps are a list made from the data (attention_blocks.py) and their
number is known to the device alone. The G heads of a key-value head share a step, its keys and its mask.
Method: Dao 2023 (FlashAttention-2), with one pass for dq and one for dk and dv. One fused pass would save two of
seven matrix products, but needs dq of a whole row in VMEM or read and written in HBM at every step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from toolrm_jax.models.attention_blocks import (
    FIRST,
    LAST,
    WHOLE,
    Blocks,
    Seen,
    Work,
    block_map,
    unpack,
    work_by_key,
    work_by_query,
)

HIDDEN = -1e30
# Scores of eight heads of a step at 512 x 512 and their gradients; v5e, v6e, v5p have 128 MiB of VMEM, tpu7x 64.
VMEM_LIMIT = 48 * 1024 * 1024

Grouped = Float[Array, "B K G T H"]
Keys = Float[Array, "B K S H"]
PerQuery = Float[Array, "B K G T"]


def forward(
    q: Grouped, k: Keys, v: Keys, seen: Seen, start: Array, blocks: Blocks, interpret: bool
) -> tuple[Grouped, PerQuery]:
    """Attention of scaled queries, and the log-sum-exp of each query's scores in float32.

    `start` is the index of the first query among the keys. Temporary memory: none that grows with T x S but the list
    of steps, 4 x B x (T / blocks.query) x (S / blocks.key) bytes.
    """
    G, T, H = q.shape[2:]
    call = _Call(k.shape[1], blocks, work_by_query(*block_map(seen, T, start, blocks)), interpret)
    out = [jax.ShapeDtypeStruct(q.shape, v.dtype), jax.ShapeDtypeStruct(q.shape[:-1], jnp.float32)]
    scratch = [pltpu.VMEM((G, H, blocks.query), jnp.float32), *[pltpu.VMEM((G, 1, blocks.query), jnp.float32)] * 2]
    inputs = [call.query(G, H), call.key(H), call.key(H), call.last]
    return call(
        _forward_kernel, inputs, out, [call.query(G, H), call.query(G)], scratch,
        (q, k, v), seen, start, products=2 * G * H,
    )  # fmt: skip


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

    Temporary memory: B x N x T float32 (the sum of out x d_out per query), and two lists of steps.
    """
    G, T, H = q.shape[2:]
    delta = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
    blocks_seen = block_map(seen, T, start, blocks)
    arrays = (q, k, v, d_out.astype(v.dtype), lse, delta)
    call = _Call(k.shape[1], blocks, work_by_query(*blocks_seen), interpret)
    inputs = [call.query(G, H), call.key(H), call.key(H), call.query(G, H), call.query(G), call.query(G), call.last]
    (dq,) = call(
        _dq_kernel, inputs, [jax.ShapeDtypeStruct(q.shape, q.dtype)], [call.query(G, H)],
        [pltpu.VMEM((G, H, blocks.query), jnp.float32)], arrays, seen, start, products=3 * G * H,
    )  # fmt: skip
    call = _Call(k.shape[1], blocks, work_by_key(*blocks_seen), interpret)
    dk, dv = call(
        _dkv_kernel, inputs, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k, v)], [call.key(H)] * 2,
        [pltpu.VMEM((blocks.key, H), jnp.float32)] * 2, arrays, seen, start, products=4 * G * H,
    )  # fmt: skip
    return dq, dk, dv


class _Call:
    """A pallas_call over (key-value heads, steps), and the blocks that a step reads and writes."""

    def __init__(self, kv_heads: int, blocks: Blocks, work: Work, interpret: bool) -> None:
        self.kv_heads, self.blocks, self.work, self.interpret = kv_heads, blocks, work, interpret

    def query(self, G: int, H: int | None = None) -> pl.BlockSpec:
        """A step's queries [B, K, G, T, H], or their statistics [B, K, G, T]."""
        last = () if H is None else (H,)

        def index(head: Array, n: Array, steps: Any, _: Any) -> tuple[Any, ...]:
            row, query, _, _ = unpack(steps[n])
            return (row, head, 0, query, *(0 for _ in last))

        return pl.BlockSpec((1, 1, G, self.blocks.query, *last), index)

    def key(self, H: int) -> pl.BlockSpec:
        """A step's keys or values [B, K, S, H]."""

        def index(head: Array, n: Array, steps: Any, _: Any) -> tuple[Any, ...]:
            row, _, key, _ = unpack(steps[n])
            return row, head, key, 0

        return pl.BlockSpec((1, 1, self.blocks.key, H), index)

    @property
    def last(self) -> pl.BlockSpec:
        """The last query that sees each of a step's keys, as rows [B, 1, S]."""

        def index(head: Array, n: Array, steps: Any, _: Any) -> tuple[Any, ...]:
            row, _, key, _ = unpack(steps[n])
            return row, 0, key

        return pl.BlockSpec((1, 1, self.blocks.key), index)

    def __call__(
        self, kernel: Callable, inputs: list, out: list, outputs: list, scratch: list,
        arrays: Sequence[Array], seen: Seen, start: Array, products: int,
    ) -> Any:  # fmt: skip
        pairs = self.blocks.query * self.blocks.key * self.kv_heads * self.work.steps.size // 2
        return pl.pallas_call(
            functools.partial(kernel, blocks=self.blocks),
            grid_spec=pltpu.PrefetchScalarGridSpec(
                num_scalar_prefetch=2,
                grid=(self.kv_heads, self.work.count),
                in_specs=inputs,
                out_specs=outputs,
                scratch_shapes=scratch,
            ),
            out_shape=out,
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT
            ),
            # What causality leaves; how much of it is skipped, the compiler cannot know.
            cost_estimate=pl.CostEstimate(
                flops=2 * products * pairs,
                transcendentals=pairs,
                bytes_accessed=sum(array.nbytes for array in arrays),
            ),
            name=kernel.__name__.strip("_"),
            interpret=self.interpret,
        )(self.work.steps, jnp.asarray(start, jnp.int32).reshape(1), *arrays, seen[:, None, :])


def _step(steps: Any, start: Any, last: Any, blocks: Blocks) -> tuple[Array, Callable[[], Array]]:
    """The flags of this step, and a function that gives its bias [S, R]: 0 where seen, else HIDDEN."""
    _, query, key, flags = unpack(steps[pl.program_id(1)])

    def bias() -> Array:
        shape = (blocks.key, blocks.query)
        last_q = jnp.broadcast_to(last[0].reshape(blocks.key, 1), shape)
        index_k = key * blocks.key + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
        index_q = start[0] + query * blocks.query + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
        return jnp.where((index_k <= index_q) & (index_q <= last_q), 0.0, HIDDEN)

    return flags, bias


def _when_seen(flags: Array, bias: Callable[[], Array], body: Callable[[Array | None], None]) -> None:
    """Run `body` with the bias of the step, or with None where all of it is seen."""
    whole = flags & WHOLE != 0
    pl.when(whole)(lambda: body(None))
    pl.when(~whole)(lambda: body(bias()))


def _scores(k: Array, q: Array, bias: Array | None) -> Float[Array, "S R"]:
    scores = _product(k, q, 1, 1)
    return scores if bias is None else scores + bias


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """The matrix product over one axis of each, in float32."""
    return jax.lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32)


def _forward_kernel(steps, start, q, k, v, last, out, lse, sums, top, total, *, blocks):
    flags, bias = _step(steps, start, last, blocks)

    @pl.when(flags & FIRST != 0)
    def _() -> None:
        sums[...] = jnp.zeros_like(sums)
        total[...] = jnp.zeros_like(total)
        top[...] = jnp.full_like(top, -jnp.inf)

    def body(bias: Array | None) -> None:
        for g in range(q.shape[2]):
            scores = _scores(k[0, 0], q[0, 0, g], bias)
            # Where nothing was seen yet this is HIDDEN or -inf, and what is added then is wiped out later by `fade`.
            higher = jnp.maximum(top[g], scores.max(axis=0, keepdims=True))
            weights = jnp.exp(scores - higher)
            fade = jnp.exp(top[g] - higher)
            total[g] = total[g] * fade + weights.sum(axis=0, keepdims=True)
            sums[g] = sums[g] * fade + _product(v[0, 0], weights.astype(v.dtype), 0, 0)
            top[g] = higher

    _when_seen(flags, bias, body)

    @pl.when(flags & LAST != 0)
    def _() -> None:
        for g in range(q.shape[2]):
            out[0, 0, g] = (sums[g] / total[g]).T.astype(out.dtype)
            lse[0, 0, g] = (top[g] + jnp.log(total[g]))[0]


def _dq_kernel(steps, start, q, k, v, d_out, lse, delta, last, dq, sums, *, blocks):
    flags, bias = _step(steps, start, last, blocks)

    @pl.when(flags & FIRST != 0)
    def _() -> None:
        sums[...] = jnp.zeros_like(sums)

    def body(bias: Array | None) -> None:
        for g in range(q.shape[2]):
            weights = jnp.exp(_scores(k[0, 0], q[0, 0, g], bias) - lse[0, 0, g][None])
            d_scores = weights * (_product(v[0, 0], d_out[0, 0, g], 1, 1) - delta[0, 0, g][None])
            sums[g] += _product(k[0, 0], d_scores.astype(k.dtype), 0, 0)

    _when_seen(flags, bias, body)

    @pl.when(flags & LAST != 0)
    def _() -> None:
        for g in range(q.shape[2]):
            dq[0, 0, g] = sums[g].T.astype(dq.dtype)


def _dkv_kernel(steps, start, q, k, v, d_out, lse, delta, last, dk, dv, sums_k, sums_v, *, blocks):
    flags, bias = _step(steps, start, last, blocks)

    @pl.when(flags & FIRST != 0)
    def _() -> None:
        sums_k[...] = jnp.zeros_like(sums_k)
        sums_v[...] = jnp.zeros_like(sums_v)

    def body(bias: Array | None) -> None:
        for g in range(q.shape[2]):
            weights = jnp.exp(_scores(k[0, 0], q[0, 0, g], bias) - lse[0, 0, g][None])
            d_scores = weights * (_product(v[0, 0], d_out[0, 0, g], 1, 1) - delta[0, 0, g][None])
            sums_v[...] += _product(weights.astype(v.dtype), d_out[0, 0, g], 1, 0)
            sums_k[...] += _product(d_scores.astype(q.dtype), q[0, 0, g], 1, 0)

    _when_seen(flags, bias, body)

    @pl.when(flags & LAST != 0)
    def _() -> None:
        dk[0, 0] = sums_k[...].astype(dk.dtype)
        dv[0, 0] = sums_v[...].astype(dv.dtype)
