"""Writing answers: the trunk one token at a time, with the keys and values of what stands before kept.

Contexts lie in slots, answers in rows (decode_attention.py). The newest tokens of all rows stand in one column of
their windows, the next step's in the next, round and round: a window as long as the longest answer never writes over
what is still seen, and nothing has to be scattered. A context's last token is not in its slot: every answer begins by
reading it, which gives the distribution of its first token.

Layers are not scanned here: a scan would copy each layer's keys and values to where its body reads them, every step.

Shape letters: as in decode_attention.py; D hidden, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Float, Int

from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.decode_attention import Seats, attend_chunk, attend_shared, write
from toolrm_jax.models.draw import Filters, draw, uniforms
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.layers import Attention, rms_norm
from toolrm_jax.models.rope import rotary


@struct.dataclass
class Decoder:
    """A model with its layers apart, each its own arrays. Made by `decoder`."""

    outer: nnx.State
    layers: tuple[nnx.State, ...]
    outer_graph: Any = struct.field(pytree_node=False)
    layer_graph: Any = struct.field(pytree_node=False)
    config: TrunkConfig = struct.field(pytree_node=False)
    dtype: Any = struct.field(pytree_node=False)


def decoder(model: RewardModel, dtype: jnp.dtype = jnp.float32) -> Decoder:
    """The model as answers are written with it: weights in the dtype of the computation, copied out of the stacks.

    Norms stay as they are. The copy takes the memory of the weights once more until the caller drops `model`.
    """
    graph, state = nnx.split(model)
    outer = nnx.merge(graph, state)
    layers, layer_graph = [], None
    for stack in outer.trunk.stacks:
        layer_graph, weights = nnx.split(stack)
        count = jax.tree.leaves(weights)[0].shape[0]
        layers += [_cast(jax.tree.map(lambda leaf, index=index: leaf[index], weights), dtype) for index in range(count)]
    outer.trunk.stacks = nnx.List([])
    outer_graph, rest = nnx.split(outer)
    return Decoder(_cast(rest, dtype), tuple(layers), outer_graph, layer_graph, model.config, jnp.dtype(dtype))


def _cast(state: nnx.State, dtype: jnp.dtype) -> nnx.State:
    """Matrices in the dtype; vectors are norms and biases, which cost nothing and are computed with in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim > 1 else leaf, state)


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """What stands in memory at a time. `slot`: tokens of a context, `window`: tokens of an answer, both at most."""

    rows: int
    slots: int
    lanes: int
    slot: int
    window: int

    def cache_bytes(self, config: TrunkConfig, dtype: jnp.dtype) -> int:
        """Of keys and values."""
        tokens = self.rows * self.window + self.slots * self.slot
        return tokens * token_bytes(config, dtype)


def token_bytes(config: TrunkConfig, dtype: jnp.dtype) -> int:
    """Of one token's keys and values in all layers."""
    heads = config.num_hidden_layers * config.num_key_value_heads
    return 2 * heads * config.head_dim * jnp.dtype(dtype).itemsize


@struct.dataclass
class Cache:
    """Keys and values, an array per layer: of contexts [P, K, H, T] and [P, K, T, H], of answers both [S, K, W, H]."""

    slot_k: tuple[Array, ...]
    slot_v: tuple[Array, ...]
    own_k: tuple[Array, ...]
    own_v: tuple[Array, ...]


@struct.dataclass
class Rows:
    """Where every row stands: its newest token, that token's position, how many it has drawn, its seed. All [S].

    An idle row computes with whatever is there, and nobody reads what comes of it. `live` keeps it from the experts.
    """

    token: Array
    position: Array
    count: Array
    seed: Array
    live: Array


def new_cache(config: TrunkConfig, sizes: Sizes, dtype: jnp.dtype) -> Cache:
    """An empty one. Zeros, not garbage: what is hidden is still multiplied by an exact zero."""
    heads, width = config.num_key_value_heads, config.head_dim
    many = lambda *shape: tuple(jnp.zeros(shape, dtype) for _ in range(config.num_hidden_layers))  # noqa: E731
    own = (sizes.rows, heads, sizes.window, width)
    return Cache(
        many(sizes.slots, heads, width, sizes.slot), many(sizes.slots, heads, sizes.slot, width), many(*own), many(*own)
    )


@functools.partial(jax.jit, static_argnames="sizes")
def resized(cache: Cache, rows: Int[Array, " S"], slots: Int[Array, " P"], sizes: Sizes) -> Cache:
    """The cache with other sizes: these of its rows and slots, in this order. Windows keep their length."""

    def slot(x: Array, axis: int) -> Array:
        kept = jax.lax.slice_in_dim(x[slots], 0, min(x.shape[axis], sizes.slot), axis=axis)
        return jnp.pad(kept, [(0, sizes.slot - kept.shape[axis] if a == axis else 0) for a in range(4)])

    keys, values = (tuple(slot(x, axis) for x in kept) for kept, axis in ((cache.slot_k, 3), (cache.slot_v, 2)))
    own_k, own_v = (tuple(x[rows] for x in kept) for kept in (cache.own_k, cache.own_v))
    return Cache(keys, values, own_k, own_v)


@functools.partial(jax.jit, donate_argnames="cache")
def prefill(model: Decoder, cache: Cache, tokens: Int[Array, " C"], slot: Array, start: Array, real: Array) -> Cache:
    """Tokens start ... start + C - 1 of a context into its slot, of which the first `real` are any.

    What the rest leaves in the slot lies beyond the context's length and is never seen.
    """
    slot_k, slot_v = list(cache.slot_k), list(cache.slot_v)

    def attention(layer: int) -> Attention:
        def attend(q: Array, k: Array, v: Array) -> Array:
            k_KHC, v_KCH = k[0].transpose(1, 2, 0), v[0].swapaxes(0, 1)
            slot_k[layer] = _put(slot_k[layer], k_KHC, (slot, 0, 0, start))
            slot_v[layer] = _put(slot_v[layer], v_KCH, (slot, 0, start, 0))
            here = (jax.lax.dynamic_index_in_dim(x[layer], slot, keepdims=False) for x in (slot_k, slot_v))
            return attend_chunk(q, *here, start)

        return attend

    at = jnp.arange(len(tokens))
    _hidden(model, tokens, start + at, at < real, attention)
    return cache.replace(slot_k=tuple(slot_k), slot_v=tuple(slot_v))


def _put(cache: Array, new: Array, at: tuple[Array | int, ...]) -> Array:
    return jax.lax.dynamic_update_slice(cache, new[None].astype(cache.dtype), at)


@functools.partial(jax.jit, static_argnames=("filters", "steps"), donate_argnames="cache")
def decode(
    model: Decoder, cache: Cache, rows: Rows, seats: Seats, column: Int[Array, ""], filters: Filters, steps: int = 1
) -> tuple[Cache, Int[Array, "n S"], Float[Array, "n S"]]:
    """`steps` tokens more of every row: the cache, the tokens, and their log-probabilities by the model itself.

    column: where in the windows the first of them is read in; each step goes one further, around the end.
    """

    def step(carry: tuple[Cache, Rows, Array], _: None) -> tuple[tuple[Cache, Rows, Array], tuple[Array, Array]]:
        cache, rows, column = carry
        cache, token, logp = _step(model, cache, rows, seats, column, filters)
        rows = rows.replace(token=token, position=rows.position + 1, count=rows.count + 1)
        return (cache, rows, (column + 1) % cache.own_k[0].shape[2]), (token, logp)

    if steps == 1:
        (cache, _, _), (token, logp) = step((cache, rows, column), None)
        return cache, token[None], logp[None]
    (cache, _, _), (tokens, logps) = jax.lax.scan(step, (cache, rows, column), length=steps)
    return cache, tokens, logps


def _step(
    model: Decoder, cache: Cache, rows: Rows, seats: Seats, column: Array, filters: Filters
) -> tuple[Cache, Array, Array]:
    window = cache.own_k[0].shape[2]
    age_W = (column - jnp.arange(window)) % window
    own_SW = age_W <= rows.count[:, None]
    own_k, own_v = list(cache.own_k), list(cache.own_v)

    def attention(layer: int) -> Attention:
        def attend(q: Array, k: Array, v: Array) -> Array:
            own_k[layer], own_v[layer] = write(own_k[layer], k, column), write(own_v[layer], v, column)
            shared = cache.slot_k[layer], cache.slot_v[layer]
            return attend_shared(q, *shared, own_k[layer], own_v[layer], seats, own_SW)

        return attend

    outer, hidden = _hidden(model, rows.token, rows.position, rows.live, attention)
    with jax.named_scope("draw"):
        logits = outer.logits(rms_norm(hidden, outer.trunk.norm[...], model.config.rms_norm_eps))[0]
        token, logp = draw(logits, uniforms(rows.seed, rows.count), filters)
    return cache.replace(own_k=tuple(own_k), own_v=tuple(own_v)), token.astype(rows.token.dtype), logp


def _hidden(model: Decoder, tokens: Array, positions: Array, real: Array, attention: Any) -> tuple[Any, Array]:
    """The model outside its layers, and the hidden states [1, tokens, D] before its last norm."""
    outer, config = nnx.merge(model.outer_graph, model.outer), model.config
    x = outer.trunk.embed(tokens[None], model.dtype)
    cos, sin = rotary(positions[None], config.rope_theta, config.rope_scaling, config.head_dim)
    visible = Visible.of(real[None].astype(jnp.int32), jnp.zeros_like(tokens)[None])
    for index, weights in enumerate(model.layers):
        layer = nnx.merge(model.layer_graph, weights)
        x, _ = layer.with_attention(x, cos, sin, visible, attention(index))
    return outer, x
