"""Rows for tests of attention: ids laid out as groups, and a reference that loops over every pair."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from toolrm_jax.models.attention import Visible

LENGTH = 256

# (tokens of the context, tokens of each answer) of each group of a row
groups = st.lists(
    st.tuples(st.integers(1, 150), st.lists(st.integers(1, 40), min_size=1, max_size=4)), min_size=0, max_size=5
)
# Ids that no packing would make: any group and answer anywhere.
scattered = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=LENGTH, max_size=LENGTH)


def laid_out(*rows: list[tuple[int, list[int]]], length: int = LENGTH) -> Visible:
    """Rows of groups in order; what does not fit is cut off, what is left over is padding."""
    ids = np.zeros((2, len(rows), length), np.int32)
    for row, groups in enumerate(rows):
        at = 0
        for number, (context, answers) in enumerate(groups, start=1):
            for response, size in enumerate([context, *answers]):
                ids[:, row, at : at + size] = np.array([number, response])[:, None]
                at += size
    return Visible(*ids)


def seen_pairs(visible: Visible) -> np.ndarray:
    """bool [B, T, T]: the contract's sentence for every pair (q, k), with each padding token seeing itself alone."""
    group, response = np.asarray(visible.group), np.asarray(visible.response)
    (group_q, response_q), (group_k, response_k) = (
        (group[:, :, None], response[:, :, None]),
        (group[:, None, :], response[:, None, :]),
    )
    context_or_own = (response_k == 0) | (response_k == response_q)
    at_or_before = np.tri(group.shape[1], dtype=bool)
    real = (group_q == group_k) & (group_q != 0) & context_or_own & at_or_before
    return real | np.eye(group.shape[1], dtype=bool)
