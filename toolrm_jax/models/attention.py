"""Attention over shared-prefix rows: a group's answers share its context and do not see each other.

`attend` is the one entry. Backends: `attention_xla` (the reference, any device), and ones that skip what nobody sees:
`attention_tpu` and `attention_gpu` (Pallas kernels) and `attention_cpu` (loops in XLA); `attention_backend` chooses one
at start-up and checks it.

Shape letters: B rows, T tokens, N heads, K key-value heads, G = N // K, H head_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

if TYPE_CHECKING:
    from toolrm_jax.models.attention_backend import Backend


@struct.dataclass
class Visible:
    """Who sees whom in a row: `group` (0 = padding) and `response` (0 = context) of each token."""

    group: Int[Array, "B T"]
    response: Int[Array, "B T"]

    def mask(self, start: int, stop: int) -> Bool[Array, "B Q S"]:
        """Whether query q in [start, stop) sees key k in [0, stop).

        The group is the same, k stands at or before q, and k is context or of q's own response. A padding token sees
        itself alone, so that its softmax stays finite; nothing else sees it.
        """
        group_q, group_k = self.group[:, start:stop, None], self.group[:, None, :stop]
        response_q, response_k = self.response[:, start:stop, None], self.response[:, None, :stop]
        index_q, index_k = jnp.arange(start, stop)[:, None], jnp.arange(stop)[None, :]
        same = (group_q == group_k) & (group_q > 0) & ((response_k == 0) | (response_k == response_q))
        return (same & (index_k < index_q)) | (index_k == index_q)


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
