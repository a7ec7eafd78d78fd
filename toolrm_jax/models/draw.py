"""Drawing the next token from logits: temperature, top-k, top-p and min-p, one random number a token.

A token is found by its place in the cumulative distribution, so that a number in [0, 1) decides it, and no noise over
the vocabulary is made. Nothing is sorted either: the filters keep what is at least as likely as some token, whose
probability is found by halving. On a CPU a sort takes longer than the model.

Shape letters: S rows, V tokens of the vocabulary, b blocks of B of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_BLOCK = 256
_NEAR = 16
"""Blocks with the likeliest tokens, which top-k and top-p look at first."""
_ONE = 0x3F800000
"""The bits of 1.0: those of floats from 0 to 1 are ordered like the floats."""


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """How tokens are drawn: top-k first, then top-p of what it leaves, then min-p, as transformers and vLLM have it.

    temperature: 0 takes the likeliest. top_k: 0 keeps all. top_p: the fewest likeliest tokens that make up this share.
    min_p: tokens with less than this part of the likeliest one's probability are left out. Of tokens that are equally
    likely all are kept or none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def uniforms(seeds: Int[Array, " S"], counts: Int[Array, " S"]) -> Float[Array, " S"]:
    """Numbers in [0, 1) that depend on each row's seed and how many tokens it has drawn, on nothing else."""
    one = lambda seed, count: jax.random.uniform(jax.random.fold_in(jax.random.key(seed), count))  # noqa: E731
    return jax.vmap(one)(seeds, counts)


def draw(
    logits: Float[Array, "S V"], uniform: Float[Array, " S"], filters: Filters
) -> tuple[Int[Array, " S"], Float[Array, " S"]]:
    """A token of each row, and its log-probability in the model's own distribution (temperature 1, no filter)."""
    logits = logits.astype(jnp.float32)
    V, top_S1 = logits.shape[1], jnp.max(logits, axis=-1, keepdims=True)
    # A row as blocks: sums over them run along the blocks, so that a CPU adds whole vectors.
    shifted_SbB = _blocks(logits - top_S1)
    if filters.temperature == 0:
        index = jnp.where(shifted_SbB == 0, jnp.arange(shifted_SbB[0].size).reshape(shifted_SbB.shape[1:]), V)
        token = jnp.min(index, axis=(1, 2))
    else:
        weights_SbB = jnp.exp(shifted_SbB / filters.temperature)
        token = _at(filtered(weights_SbB, filters), uniform)
    # Looked up in the logits themselves: were they read by nothing but the maximum and the difference, XLA would fuse
    # these with the product that makes them, and on a CPU compute it once for each.
    chosen = (jnp.take_along_axis(logits, token[:, None], axis=-1) - top_S1)[:, 0]
    return token, chosen - jnp.log(_total(jnp.exp(shifted_SbB)))


def _blocks(x: Float[Array, "S V"]) -> Float[Array, "S b B"]:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % _BLOCK)), constant_values=-jnp.inf).reshape(len(x), -1, _BLOCK)


def _total(x_SbB: Array) -> Float[Array, " S"]:
    return jnp.sum(jnp.sum(x_SbB, axis=1), axis=-1)


def filtered(weights: Float[Array, "S b B"], filters: Filters) -> Float[Array, "S b B"]:
    """The weights, each row's greatest of which is 1, with those that the filters leave out at zero."""
    if filters.top_k:
        many = lambda some, at: _total((some >= at).astype(jnp.float32)) >= filters.top_k  # noqa: E731
        weights = jnp.where(weights >= _least(weights, many), weights, 0)
    if filters.top_p < 1:
        share = filters.top_p * _total(weights)
        much = lambda some, at: _total(jnp.where(some >= at, some, 0)) >= share  # noqa: E731
        weights = jnp.where(weights >= _least(weights, much), weights, 0)
    return jnp.where(weights >= filters.min_p, weights, 0)


Enough = Callable[[Float[Array, "S n B"], Float[Array, "S 1 1"]], Bool[Array, " S"]]
"""Whether, of these weights, those of at least `at` are enough."""


def _least(weights: Float[Array, "S b B"], enough: Enough) -> Float[Array, "S 1 1"]:
    """Per row the greatest weight `at` such that what is at least `at` is enough; 0 where nothing is.

    It is looked for in the blocks with the likeliest tokens first. That is all there is to it where no other block
    has a token so likely, which in what a language model says is nearly always.
    """
    if weights.shape[1] <= _NEAR:
        return _halving(weights, enough)
    best, block = jax.lax.top_k(jnp.max(weights, axis=-1), _NEAR + 1)
    near = _halving(jnp.take_along_axis(weights, block[:, :-1, None], axis=1), enough)
    certain = jnp.all(near[:, 0, 0] > best[:, -1])
    return jax.lax.cond(certain, lambda: near, lambda: _halving(weights, enough))


def _halving(weights: Float[Array, "S n B"], enough: Enough) -> Float[Array, "S 1 1"]:
    def halve(_: int, between: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = between
        middle = (low + high) // 2
        reached = enough(weights, jax.lax.bitcast_convert_type(middle, jnp.float32)[:, None, None])
        return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

    rows = len(weights)
    ends = jnp.zeros(rows, jnp.int32), jnp.full(rows, _ONE + 1, jnp.int32)
    low, _ = jax.lax.fori_loop(0, _ONE.bit_length(), halve, ends)
    return jax.lax.bitcast_convert_type(low, jnp.float32)[:, None, None]


def _at(weights: Float[Array, "S b B"], uniform: Float[Array, " S"]) -> Int[Array, " S"]:
    """The token at which the cumulative weight passes `uniform` of the whole, found by blocks, then within one."""
    sums_Sb = jnp.sum(weights, axis=-1)
    ends_Sb = jnp.cumsum(sums_Sb, axis=-1)
    place_S1 = (uniform * ends_Sb[:, -1])[:, None]
    block_S = _first(ends_Sb > place_S1, sums_Sb > 0)
    start_S1 = jnp.take_along_axis(ends_Sb - sums_Sb, block_S[:, None], axis=-1)
    inside_SB = jnp.take_along_axis(weights, block_S[:, None, None], axis=1)[:, 0]
    return block_S * _BLOCK + _first(start_S1 + jnp.cumsum(inside_SB, axis=-1) > place_S1, inside_SB > 0)


def _first(passed: Bool[Array, "S n"], possible: Bool[Array, "S n"]) -> Int[Array, " S"]:
    """The first index that is passed; the last possible one where rounding lets none be, so never one of weight 0."""
    last = possible.shape[-1] - 1 - jnp.argmax(possible[:, ::-1], axis=-1)
    return jnp.where(jnp.any(passed & possible, axis=-1), jnp.argmax(passed & possible, axis=-1), last)
