"""Attention while tokens are written: over a context that several answers share, and over each answer's own tokens.

An answer stands in a row of the batch, its context in a slot. A slot has lanes, one for each answer that is written to
it at a time: queries are gathered by slot and lane, so that a context's keys are read once a step for all its answers,
and given back to the rows. Both parts are one softmax, joined by their greatest score and sums.

Keys of slots lie with their tokens last, as the product with queries reads them: a CPU takes half the time so.

Shape letters: S rows, P slots, R lanes of a slot, T tokens of a slot, W tokens of a row's window, N heads, K key-value
heads, G = N // K, H head_dim, C tokens of a chunk.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

HIDDEN = -1e30


@struct.dataclass
class Seats:
    """Which answer reads which context: the same facts from both sides.

    row: of each lane, the row that sits there (0 where none does: its result is read by nobody). lane: of each row,
    its place in all lanes, slot * R + lane (0 where the row is idle). length: of each slot's context.
    """

    row: Int[Array, "P R"]
    lane: Int[Array, " S"]
    length: Int[Array, " P"]


def attend_shared(
    q: Float[Array, "1 S N H"],
    slot_k: Float[Array, "P K H T"],
    slot_v: Float[Array, "P K T H"],
    own_k: Float[Array, "S K W H"],
    own_v: Float[Array, "S K W H"],
    seats: Seats,
    own: Bool[Array, "S W"],
) -> Float[Array, "1 S N H"]:
    """What each row's newest token reads in its context and, where `own` says so, in the row's window.

    Scores and sums are float32, the result in the dtype of the values.
    """
    _, S, N, H = q.shape
    (P, R), K = seats.row.shape, slot_k.shape[1]
    G = N // K
    q_SKGH = (q[0] * H**-0.5).reshape(S, K, G, H)
    q_PKLH = q_SKGH[seats.row].swapaxes(1, 2).reshape(P, K, R * G, H)
    there = (jnp.arange(slot_v.shape[2]) < seats.length[:, None])[:, None, None]
    parts = _partial(q_PKLH, slot_k, slot_v, there)
    sums_SKGH, top_SKG, total_SKG = (_to_rows(part, seats, R, G) for part in parts)
    own_SKGH, own_top, own_total = _by_vectors(q_SKGH, own_k, own_v, own[:, None, None])
    highest = jnp.maximum(top_SKG, own_top)
    shared, mine = jnp.exp(top_SKG - highest), jnp.exp(own_top - highest)
    out = sums_SKGH * shared[..., None] + own_SKGH * mine[..., None]
    return (out / (total_SKG * shared + own_total * mine)[..., None]).reshape(1, S, N, H).astype(slot_v.dtype)


def _partial(q: Array, k: Array, v: Array, visible: Array) -> tuple[Array, Array, Array]:
    """Of queries [b, K, L, H] over keys [b, K, H, T]: weighted sums, greatest score, sum of weights; float32."""
    scores = jnp.einsum("bklh,bkht->bklt", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(visible, scores, HIDDEN)
    top = jnp.max(scores, axis=-1)
    weights = jnp.exp(scores - top[..., None])
    sums = jnp.einsum("bklt,bkth->bklh", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return sums, top, jnp.sum(weights, axis=-1)


def _by_vectors(q: Array, k: Array, v: Array, visible: Array) -> tuple[Array, Array, Array]:
    """As `_partial` with keys [b, K, T, H], for few queries a key: without matrix products, so small slow on a CPU."""
    scores = jnp.sum(q[:, :, :, None].astype(jnp.float32) * k[:, :, None].astype(jnp.float32), axis=-1)
    scores = jnp.where(visible, scores, HIDDEN)
    top = jnp.max(scores, axis=-1)
    weights = jnp.exp(scores - top[..., None])
    sums = jnp.sum(weights[..., None] * v[:, :, None].astype(jnp.float32), axis=-2)
    return sums, top, jnp.sum(weights, axis=-1)


def _to_rows(x: Array, seats: Seats, lanes: int, group: int) -> Array:
    """Results [P, K, R * G, ...] as the rows have them, [S, K, G, ...]."""
    P, K, _, *rest = x.shape
    by_lane = x.reshape(P, K, lanes, group, *rest).swapaxes(1, 2).reshape(P * lanes, K, group, *rest)
    return by_lane[seats.lane]


def attend_chunk(
    q: Float[Array, "1 C N H"], k: Float[Array, "K H T"], v: Float[Array, "K T H"], start: Int[Array, ""]
) -> Float[Array, "1 C N H"]:
    """What tokens start ... start + C - 1 of a context read in it; it holds their own keys already."""
    _, C, N, H = q.shape
    K = k.shape[0]
    G = N // K
    q_KLH = (q[0] * H**-0.5).reshape(C, K, G, H).swapaxes(0, 1).reshape(1, K, C * G, H)
    seen_CT = jnp.arange(v.shape[1]) <= (start + jnp.arange(C))[:, None]
    sums, _, total = _partial(q_KLH, k[None], v[None], jnp.repeat(seen_CT, G, axis=0))
    out_KLH = (sums / total[..., None])[0]
    return out_KLH.reshape(K, C, G, H).swapaxes(0, 1).reshape(1, C, N, H).astype(v.dtype)


def write(cache: Float[Array, "S K W H"], new: Float[Array, "1 S K H"], column: Int[Array, ""]) -> Array:
    """The newest token of every row, all in the same column: rows differ in which columns they see, not in where."""
    return jax.lax.dynamic_update_slice(cache, new[0][:, :, None].astype(cache.dtype), (0, 0, column, 0))
