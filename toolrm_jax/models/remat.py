"""What a layer keeps for the backward pass and what is computed again: policies by name.

From most memory and least work to the reverse:
    none           keep everything
    dots           keep the results of matrix products (and attention's, by the name ATTENDED)
    dots_no_batch  keep those of the projections and the MLP, not of attention's own products
    attention      keep each layer's input and what attention made, the part that costs most to make again
    full           keep each layer's input
    offload        as dots_no_batch, kept in the host's memory: for accelerators whose link to it is fast
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax

Remat = Literal["none", "dots", "dots_no_batch", "attention", "full", "offload"]
# Name of what attention made, [B, T, heads, head_dim], before the output projection. A kernel that keeps more for its
# own backward pass (a log-sum-exp) gives that the same name, or it runs again.
ATTENDED = "attended"

_KEEP = jax.checkpoint_policies
_POLICIES: dict[str, Callable[..., Any]] = {
    "dots": _KEEP.save_from_both_policies(_KEEP.dots_saveable, _KEEP.save_only_these_names(ATTENDED)),
    "dots_no_batch": _KEEP.dots_with_no_batch_dims_saveable,
    "attention": _KEEP.save_only_these_names(ATTENDED),
    "full": _KEEP.nothing_saveable,
    "offload": _KEEP.offload_dot_with_no_batch_dims("device", "pinned_host"),
}


def rematerialised(body: Callable[..., Any], remat: Remat) -> Callable[..., Any]:
    """The body of a scan over layers under the policy."""
    if remat == "none":
        return body
    # A loop's body cannot be merged with its recomputation, so the barriers against that would only slow it.
    return jax.checkpoint(body, policy=_POLICIES[remat], prevent_cse=False)
