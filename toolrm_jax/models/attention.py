"""Attention over rows of trees: answers share their context and whatever they begin with alike, and see nothing else.

`attend` is the one entry. Backends: `attention_xla` (the reference, any device), and ones that skip what nobody sees:
`attention_tpu` and `attention_gpu` (Pallas kernels) and `attention_cpu` (loops in XLA); `attention_backend` chooses one
at start-up and checks it.

Shape letters: B rows, T tokens, N heads, K key-value heads, G = N // K, H head_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

if TYPE_CHECKING:
    from toolrm_jax.models.attention_backend import Backend


@struct.dataclass
class Visible:
    """Who sees whom in a row: a token is seen from itself on up to the index `last`; `real` is False for padding.

    So a tree is told, laid out depth first: `last` is where the branches end that go on from a token. Padding is its
    own last: it sees itself alone, so that its softmax stays finite, and nothing else sees it.
    """

    last: Int[Array, "B T"]
    real: Bool[Array, "B T"]

    @classmethod
    def of(cls, group: Int[Array, "B T"], response: Int[Array, "B T"]) -> Visible:
        """Of groups (0 = padding) of a context (response 0) and answers side by side, each in one piece.

        A context is seen up to the end of its group, an answer up to its own.
        """
        length = group.shape[1]
        index = jnp.arange(length, dtype=jnp.int32)
        ends = jnp.pad(group[:, 1:] != group[:, :-1], ((0, 0), (0, 1)), constant_values=True)
        answer_ends = ends | jnp.pad(response[:, 1:] != response[:, :-1], ((0, 0), (0, 1)))
        end, answer_end = (
            jax.lax.cummin(jnp.where(at, index, length), axis=1, reverse=True) for at in (ends, answer_ends)
        )
        real = group > 0
        return cls(jnp.where(real, jnp.where(response == 0, end, answer_end), index), real)

    def mask(self, start: int, stop: int) -> Bool[Array, "B Q S"]:
        """Whether query q in [start, stop) sees key k in [0, stop): k <= q <= last[k]."""
        index_q, index_k = jnp.arange(start, stop)[:, None], jnp.arange(stop)[None, :]
        return (index_k <= index_q) & (index_q <= self.last[:, None, :stop])


def attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    visible: Visible,
    backend: Backend | None = None,
) -> Float[Array, "B T N H"]:
    """Softmax attention, scores scaled by H ** -0.5 and in float32, the result in the dtype of v.

    Without a `backend` it is the XLA reference, which every other one is held equal to, values and gradients. What is
    kept for the gradient under remat bears the name ATTENDED.
    """
    if backend is not None:
        return backend(q, k, v, visible)
    from toolrm_jax.models.attention_xla import attend_xla

    return attend_xla(q, k, v, visible)
