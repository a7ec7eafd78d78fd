"""Tokens are drawn from exactly the distribution that the filters leave."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from toolrm_jax.models.draw import Filters, draw, filtered, uniforms

V = 600  # tokens: two whole blocks and a part of a third
FILTERS = [
    Filters(),
    Filters(0.7),
    Filters(1.5, min_p=0.1),
    Filters(1.0, top_k=17),
    Filters(0.9, top_p=0.8),
    Filters(1.2, top_k=50, top_p=0.9),
    Filters(1.0, top_k=40, top_p=0.95, min_p=0.2),
]


def logits_of(seed: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, V)).astype(np.float32) * 3


def left(logits: np.ndarray, filters: Filters) -> np.ndarray:
    """The distribution [V] by sorting, in float64: temperature, top-k, top-p of the rest, min-p."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / filters.temperature)
    order = np.argsort(-weights, kind="stable")
    kept = weights[order]
    if filters.top_k:
        kept[filters.top_k :] = 0
    if filters.top_p < 1:
        before = np.cumsum(kept) - kept
        kept[before >= filters.top_p * kept.sum()] = 0
    kept[kept < filters.min_p] = 0
    weights[order] = kept
    return weights / weights.sum()


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_drawn_tokens_pass_a_chi_square_test_against_what_the_filters_leave(filters):
    count = 20_000
    logits = logits_of(1)
    # Seeds as requests have them: parts of hashes.
    seeds = np.random.default_rng(2).integers(1, 2**31, count).astype(np.int32)
    uniform = uniforms(jnp.asarray(seeds), jnp.zeros(count, jnp.int32))
    token, _ = draw(jnp.tile(logits, (count, 1)), uniform, filters)
    expected = left(logits[0], filters) * count
    # Whatever the numbers: each gives the token at its place in the exact distribution, but for rounding at an edge.
    exact = np.searchsorted(np.cumsum(expected) / count, np.asarray(uniform, np.float64), side="right")
    assert np.sum(np.asarray(token) != exact) <= count / 2000
    found = np.bincount(np.asarray(token), minlength=V)
    assert not found[expected == 0].any(), "a token that was left out was drawn"
    # Tokens expected fewer than five times are counted as one.
    often = expected >= 5
    bins = [np.append(x[often], x[~often].sum()) for x in (found, expected)]
    if bins[1][-1] < 5:
        bins = [np.append(x[:-2], x[-2:].sum()) for x in bins]
    assert chisquare(*bins).pvalue > 1e-3


@pytest.mark.parametrize("filters", FILTERS[1:], ids=str)
def test_the_filters_leave_what_those_of_transformers_leave(filters):
    torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = logits_of(2, rows=64)
    theirs = TemperatureLogitsWarper(filters.temperature)(None, torch.from_numpy(logits.copy()))
    if filters.top_k:
        theirs = TopKLogitsWarper(filters.top_k)(None, theirs)
    if filters.top_p < 1:
        theirs = TopPLogitsWarper(filters.top_p)(None, theirs)
    if filters.min_p:
        theirs = MinPLogitsWarper(filters.min_p)(None, theirs)
    weights = np.exp((logits - logits.max(axis=1, keepdims=True)) / filters.temperature)
    ours = np.asarray(filtered(jnp.asarray(weights)[:, None], filters))[:, 0]
    np.testing.assert_array_equal(ours > 0, np.isfinite(theirs.numpy()))


@pytest.mark.parametrize("sharpness", [0.3, 3.0, 12.0])
@pytest.mark.parametrize("filters", FILTERS[3:], ids=str)
def test_of_a_large_vocabulary_the_same_is_left_whether_few_tokens_are_likely_or_many(filters, sharpness):
    logits = np.random.default_rng(4).normal(size=(9, 24 * 256)).astype(np.float32) * sharpness
    weights = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(filters.temperature))
    ours = np.asarray(filtered(jnp.asarray(weights).reshape(9, 24, 256), filters)).reshape(9, -1)
    for row, one in zip(logits, ours):
        expected = left(row, filters)
        # Sums in float32 may count one token more or less where many hardly differ.
        assert np.sum((one > 0) != (expected > 0)) <= 1e-4 * np.sum(expected > 0) + (sharpness < 1)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FILTERS),
    st.one_of(st.sampled_from([0.0, 1 - 2**-24]), st.floats(0, 1, width=32, exclude_max=True)),
    st.integers(1, V),
)
@example(0, Filters(), 1 - 2**-24, 1)
def test_a_token_of_no_probability_is_never_drawn(seed, filters, uniform, possible):
    random = np.random.default_rng(seed)
    logits = np.full((1, V), -np.inf, np.float32)
    chosen = random.choice(V, possible, replace=False)
    logits[0, chosen] = random.normal(size=possible) * 20
    token, logprob = draw(jnp.asarray(logits), jnp.float32([uniform]), filters)
    assert left(logits[0], filters)[int(token[0])] > 0
    assert float(logprob[0]) <= 1e-6


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_log_probability_is_that_of_the_model_whatever_the_filters(seed):
    logits = logits_of(seed, rows=7)
    exact = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    for filters in (Filters(0), FILTERS[-1]):
        token, logprob = draw(jnp.asarray(logits), jnp.linspace(0, 0.99, 7), filters)
        np.testing.assert_allclose(logprob, exact[np.arange(7), token], atol=2e-5)


def test_at_temperature_zero_the_first_of_the_likeliest_is_taken():
    logits = logits_of(3, rows=4)
    logits[1, [599, 256, 300]] = 99.0
    token, _ = draw(jnp.asarray(logits), jnp.zeros(4), Filters(0, top_k=5))
    np.testing.assert_array_equal(token, logits.argmax(axis=1))
    assert token[1] == 256


def test_a_rows_numbers_depend_on_its_seed_and_count_alone():
    seeds, counts = np.arange(8) * 7919 % 2**31, np.arange(8) % 3
    here = np.asarray(uniforms(jnp.asarray(seeds), jnp.asarray(counts)))
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(uniforms(jnp.asarray(seeds[order]), jnp.asarray(counts[order])), here[order])
    assert len({float(x) for x in here}) == 8
    assert len({float(x) for x in uniforms(jnp.full(5, 3), jnp.arange(5))}) == 5


def test_numbers_of_seeds_and_counts_side_by_side_are_uniform_and_unrelated():
    seeds, counts = (x.ravel() for x in np.meshgrid(np.arange(300), np.arange(100)))
    numbers = np.asarray(uniforms(jnp.asarray(seeds), jnp.asarray(counts)))
    assert chisquare(np.bincount((numbers * 50).astype(int), minlength=50)).pvalue > 1e-3
    grid = numbers.reshape(100, 300)
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.02
