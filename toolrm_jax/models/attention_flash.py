"""Shared-prefix attention by a kernel: layouts, gradients, and the devices of a mesh; the kernels are in other files.

Over a mesh (the placement in force) rows and heads are computed where they lie. Where a row's tokens are divided,
each device gathers the keys and values of the whole row for its own queries, and their gradients are summed and
scattered back.

Shape letters: see attention.py; S is the number of keys, T of queries: unlike where tokens are divided.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from toolrm_jax.errors import ModelError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_blocks import Blocks
from toolrm_jax.models.placement import Placement, placement_in_force
from toolrm_jax.models.remat import ATTENDED

# A row is padded to a multiple of this, the width of a TPU's vectors.
GRAIN = 128


@dataclasses.dataclass(frozen=True, slots=True)
class Flash:
    """A backend made of a kernel: hashable, called with (q, k, v, visible). `block` bounds the tokens of a block.

    Memory of one layer on a device, beside q, k, v, the output and their gradients, each twice (the kernels want
    heads before tokens): 2 x 4 x B x N x T bytes (log-sum-exp; in the backward pass the sum of output x its gradient)
    and 4 x B x T + 8 x B x ceil(T / block)^2 of who sees whom and steps. For the gradient q, k, v, output and
    log-sum-exp are kept, the last two under the name ATTENDED, so that under remat the forward kernel need not run
    again.
    """

    kernel: Literal["tpu", "gpu", "cpu"]
    block: int = 512
    interpret: bool = False

    def __call__(
        self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], v: Float[Array, "B T K H"], visible: Visible
    ) -> Float[Array, "B T N H"]:
        """Raises ModelError where rows or heads do not divide over the mesh."""
        (B, T, N, H), K = q.shape, k.shape[2]
        shards = Shards(placement_in_force())
        shards.check(B, N, K)
        pad = -T % (GRAIN * shards.size("tokens"))
        last = visible.last
        if pad:
            alone = jnp.broadcast_to(jnp.arange(T, T + pad, dtype=last.dtype), (B, pad))
            last = jnp.concatenate([last, alone], axis=1)
            q, k, v = (jnp.pad(x, ((0, 0), (0, pad), (0, 0), (0, 0))) for x in (q, k, v))
        copies = max(shards.size("heads") // K, 1)
        if copies > 1:
            k, v = (jnp.repeat(x, copies, axis=2) for x in (k, v))
        out = _flash(q * H**-0.5, k, v, last, self, shards)
        return out[:, :T] if pad else out

    def blocks(self, queries: int, keys: int) -> Blocks:
        """The largest blocks of at most `block` tokens that divide the queries and the keys."""
        return Blocks(*(next(n for n in (512, 256, 128) if n <= self.block and not t % n) for t in (queries, keys)))

    def module(self) -> Any:
        """The module with `forward` and `backward`; its part of Pallas is imported only when it is used."""
        if self.kernel == "tpu":
            from toolrm_jax.models import attention_tpu as kernels
        elif self.kernel == "gpu":
            from toolrm_jax.models import attention_gpu as kernels
        else:
            from toolrm_jax.models import attention_cpu as kernels
        return kernels


@dataclasses.dataclass(frozen=True, slots=True)
class Shards:
    """How the placement divides attention over a mesh, or does not (None)."""

    placement: Placement | None

    def axes(self, name: str) -> tuple[str, ...]:
        """The mesh axes that a logical axis is divided over."""
        if self.placement is None:
            return ()
        axes = self.placement.spec(name)[0]
        return (axes,) if isinstance(axes, str) else axes or ()

    def size(self, name: str) -> int:
        """Into how many parts a logical axis is divided."""
        return math.prod(self.placement.mesh.shape[axis] for axis in self.axes(name)) if self.placement else 1

    def check(self, rows: int, heads: int, kv_heads: int) -> None:
        """Raise ModelError where the mesh does not divide the rows of a batch or the heads."""
        over, tensor = self.size("rows"), self.size("heads")
        if rows % over:
            raise ModelError(
                f"{rows} rows do not divide over {over} devices ({' x '.join(self.axes('rows'))}); "
                f"use {-(-rows // over) * over} rows"
            )
        if heads % tensor or (kv_heads % tensor and tensor % kv_heads):
            fits = [n for n in range(1, tensor) if not heads % n and (not kv_heads % n or not n % kv_heads)]
            raise ModelError(
                f"{heads} attention heads over {kv_heads} key-value heads do not divide over "
                f"{' x '.join(self.axes('heads'))}={tensor}; use {max(fits)}"
            )

    def map(self, function: Callable, inputs: str, outputs: str) -> Callable:
        """`function` on each device's part of its arguments, told by letters.

        x: [B, T, heads, H], s: per head and query [B, heads, G, T], c: per token [B, T].
        """
        if self.placement is None:
            return function
        rows, heads, tokens = (self.axes(name) or None for name in ("rows", "heads", "tokens"))
        specs = {
            "x": PartitionSpec(rows, tokens, heads, None),
            "s": PartitionSpec(rows, heads, None, tokens),
            "c": PartitionSpec(rows, tokens),
        }
        return jax.shard_map(
            function,
            mesh=self.placement.mesh,
            in_specs=tuple(specs[letter] for letter in inputs),
            out_specs=tuple(specs[letter] for letter in outputs),
            # Nothing is differentiated through the shards: both passes are written out below.
            check_vma=False,
        )

    def whole_row(self, *parts: Array) -> list[Array]:
        """Arrays [B, T, ...] of whole rows, of which this device has its part of the tokens."""
        if self.size("tokens") == 1:
            return list(parts)
        return [jax.lax.all_gather(part, self.axes("tokens"), axis=1, tiled=True) for part in parts]

    def own_part(self, whole: Array) -> Array:
        """The sum over devices of arrays [B, S, ...], of which each keeps its part of the tokens."""
        if self.size("tokens") == 1:
            return whole
        summed = jax.lax.psum_scatter(whole.astype(jnp.float32), self.axes("tokens"), scatter_dimension=1, tiled=True)
        return summed.astype(whole.dtype)

    def first_query(self, queries: int) -> Array:
        """Index in the row of this device's first query."""
        return jnp.int32(0) if self.size("tokens") == 1 else jax.lax.axis_index(self.axes("tokens")) * queries


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _flash(q: Array, k: Array, v: Array, last: Array, flash: Flash, shards: Shards) -> Array:
    return _forward(q, k, v, last, flash, shards)[0]


def _forward(q: Array, k: Array, v: Array, last: Array, flash: Flash, shards: Shards) -> tuple[Array, tuple]:
    def local(q: Array, k: Array, v: Array, last: Array) -> tuple[Array, Array]:
        out, lse = flash.module().forward(*_arguments(q, k, v, last, flash, shards), flash.interpret)
        return _tokens_first(out), lse

    out, lse = shards.map(local, "xxxc", "xs")(q, k, v, last)
    out, lse = checkpoint_name(out, ATTENDED), checkpoint_name(lse, ATTENDED)
    return out, (q, k, v, last, out, lse)


def _backward(flash: Flash, shards: Shards, kept: tuple, d_out: Array) -> tuple[Array, Array, Array, None]:
    def local(
        q: Array, k: Array, v: Array, last: Array, out: Array, lse: Array, d_out: Array
    ) -> tuple[Array, Array, Array]:
        K = k.shape[2]
        dq, dk, dv = flash.module().backward(
            *_arguments(q, k, v, last, flash, shards),
            _grouped(out, K), lse, _grouped(d_out, K), flash.interpret,
        )  # fmt: skip
        return _tokens_first(dq), shards.own_part(dk.swapaxes(1, 2)), shards.own_part(dv.swapaxes(1, 2))

    q, k, v, last, out, lse = kept
    gradients = shards.map(local, "xxxcxsx", "xxx")(q, k, v, last, out, lse, d_out)
    return *gradients, None


_flash.defvjp(_forward, _backward)


def _arguments(
    q: Array, k: Array, v: Array, last: Array, flash: Flash, shards: Shards
) -> tuple[Array, Array, Array, Array, Array, Blocks]:
    """What a kernel takes: q, k, v with heads before tokens, the last query of each key, the first query, blocks."""
    start, blocks = shards.first_query(q.shape[1]), flash.blocks(q.shape[1], k.shape[1] * shards.size("tokens"))
    k, v, last = shards.whole_row(k, v, last)
    return _grouped(q, k.shape[2]), k.swapaxes(1, 2), v.swapaxes(1, 2), last, start, blocks


def _grouped(x: Float[Array, "B T N H"], K: int) -> Float[Array, "B K G T H"]:
    B, T, N, H = x.shape
    return x.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)


def _tokens_first(x: Float[Array, "B K G T H"]) -> Float[Array, "B T N H"]:
    B, K, G, T, H = x.shape
    return x.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)
