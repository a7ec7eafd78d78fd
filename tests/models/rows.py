"""Rows for tests of attention: ids laid out as groups, and what every pair of tokens is by the contract's words."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from toolrm_jax.models.attention import Visible

LENGTH = 256

# (tokens of the context, tokens of each answer) of each group of a row
groups = st.lists(
    st.tuples(st.integers(1, 150), st.lists(st.integers(1, 40), min_size=1, max_size=4)), min_size=0, max_size=5
)
# What no tree would be: each token seen for any number of tokens from itself on.
spans = st.lists(st.integers(0, 150), min_size=LENGTH, max_size=LENGTH)


def laid_out(*rows: list[tuple[int, list[int]]], length: int = LENGTH) -> Visible:
    """Rows of groups in order; what does not fit is cut off, what is left over is padding."""
    return Visible.of(*ids_of(*rows, length=length))


def with_spans(spans: list[int]) -> Visible:
    """A row whose tokens are seen for so many tokens after themselves, as far as it goes."""
    last = np.minimum(np.arange(len(spans)) + np.array(spans), len(spans) - 1).astype(np.int32)
    return Visible(last[None], np.ones((1, len(spans)), bool))


def ids_of(*rows: list[tuple[int, list[int]]], length: int = LENGTH) -> np.ndarray:
    """Group and response of each token of such rows, int32 [2, B, T]."""
    ids = np.zeros((2, len(rows), length), np.int32)
    for row, groups in enumerate(rows):
        at = 0
        for number, (context, answers) in enumerate(groups, start=1):
            for response, size in enumerate([context, *answers]):
                ids[:, row, at : at + size] = np.array([number, response])[:, None]
                at += size
    return ids


def seen_pairs(visible: Visible) -> np.ndarray:
    """bool [B, T, T], whether query q sees key k: from itself on up to its last."""
    last = np.asarray(visible.last)[:, None, :]
    index = np.arange(last.shape[2])
    return (index[None] <= index[:, None]) & (index[:, None] <= last)


def seen_in_groups(ids: np.ndarray) -> np.ndarray:
    """The same by group and response: the group is the same, and the key context or of the query's own response.

    Each padding token sees itself alone.
    """
    (group_q, response_q), (group_k, response_k) = ids[:, :, :, None], ids[:, :, None, :]
    context_or_own = (response_k == 0) | (response_k == response_q)
    at_or_before = np.tri(ids.shape[2], dtype=bool)
    real = (group_q == group_k) & (group_q != 0) & context_or_own & at_or_before
    return real | np.eye(ids.shape[2], dtype=bool)
