"""The gated activation of every MLP here."""

from __future__ import annotations

import functools

import jax
from jaxtyping import Array, Float


@functools.partial(jax.checkpoint, prevent_cse=False)
def swiglu(gate: Float[Array, "... F"], up: Float[Array, "... F"]) -> Float[Array, "... F"]:
    """silu(gate) * up (Shazeer 2020).

    The backward pass makes it again from both: left to itself, JAX keeps three more arrays of the MLP's width a layer.
    """
    return jax.nn.silu(gate) * up
