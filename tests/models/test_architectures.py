"""Every architecture equals transformers, layer by layer, on rows of several groups, in float32 and in bfloat16."""

from __future__ import annotations

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")

from tests.models.published import LENGTH, MODELS, VOCABULARY, shrunken  # noqa: E402
from toolrm_jax.data.rows import lay_out, stack  # noqa: E402
from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.models.attention import Visible  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402


@functools.cache
def groups() -> tuple[tuple[TokenGroup, ...], ...]:
    """The groups of two rows."""
    random = np.random.default_rng(0)

    def group(answers: int, context: int) -> TokenGroup:
        tokens = tuple(random.integers(1, VOCABULARY, random.integers(1, 24)) for _ in range(answers))
        right = tuple(index == 0 for index in range(answers))
        return TokenGroup("g", "made", random.integers(1, VOCABULARY, context), tokens, right, ("",) * answers)

    return (group(3, 50), group(2, 90)), (group(1, 120), group(4, 30), group(2, 9))


def rows():
    return stack([lay_out(list(row), LENGTH, 16) for row in groups()])


def sequences():
    """Each answer as (row, indices of its context and its own tokens in the row, the sequence alone)."""
    laid_out = rows()
    for number, row in enumerate(groups()):
        for index, group in enumerate(row):
            for answer, tokens in enumerate(group.responses):
                here = laid_out.group[number] == index + 1
                seen = here & np.isin(laid_out.response[number], (0, answer + 1))
                yield number, np.flatnonzero(seen), np.concatenate([group.context, tokens])


def run(model, sequence: np.ndarray):
    """transformers on one sequence alone: its output, and the hidden states after each layer."""
    states = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        out = model(torch.tensor(sequence[None].astype(np.int64))).logits
    for hook in hooks:
        hook.remove()
    return out.float().numpy(), [state.float().numpy().reshape(len(sequence), -1) for state in states]


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_of_every_layer_and_scores_equal_those_of_transformers(name, tmp_path):
    reference = shrunken(name, tmp_path, "ForSequenceClassification")
    model, missing = load_model(tmp_path, frozen_layers=1)
    assert missing == (() if model.config.tie_word_embeddings else ("lm_head.weight",))
    laid_out = rows()
    inputs = (laid_out.tokens, laid_out.positions, Visible.of(laid_out.group, laid_out.response))
    ours = np.asarray(jax.jit(model.trunk.each_layer)(*inputs))
    rewards = np.asarray(model(*inputs)[1])
    found = [(*run(reference, sequence), row, at) for row, at, sequence in sequences()]
    for layer in range(len(ours)):
        for _, states, row, at in found:
            scale = np.abs(states[layer]).max()
            np.testing.assert_allclose(ours[layer, row, at], states[layer], atol=2e-5 * scale, err_msg=f"layer {layer}")
    for score, _, row, at in found:
        np.testing.assert_allclose(rewards[row, at[-1]], score[0, 0], rtol=0, atol=1e-4, err_msg="score")


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name, tmp_path):
    reference = shrunken(name, tmp_path, "ForCausalLM")
    model, missing = load_model(tmp_path)
    assert missing == ("score.weight",)
    ours = logits(model, jnp.float32)
    for row, at, sequence in sequences():
        theirs = run(reference, sequence)[0][0]
        assert theirs.std() > 0.5, "logits must differ for this test to say anything"
        np.testing.assert_allclose(ours[row, at], theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_no_farther_from_the_truth_than_that_of_transformers(name, tmp_path):
    """The mean over tokens of the distance of their logits: at most 1.2 times theirs.

    A token for which two experts nearly tie may go to the other one, in ours and in theirs: a mean over tokens counts
    these as what they are, a hundredth of all; a mean of squares would be theirs alone.
    """
    reference = shrunken(name, tmp_path, "ForCausalLM")
    rounded = copy.deepcopy(reference).bfloat16()
    ours = logits(load_model(tmp_path)[0], jnp.bfloat16)
    errors = []
    for row, at, sequence in sequences():
        truth, theirs = run(reference, sequence)[0][0], run(rounded, sequence)[0][0]
        errors.append([np.sqrt(((those - truth) ** 2).mean(axis=1)) for those in (ours[row, at], theirs)])
    own, other = np.concatenate(errors, axis=1).mean(axis=1)
    print(f"{name}: {own:.5f} against {other:.5f}, ratio {own / other:.2f}")
    assert 0 < own <= 1.2 * other


def logits(model, dtype) -> np.ndarray:
    laid_out = rows()
    visible = Visible.of(laid_out.group, laid_out.response)
    hidden, _ = jax.jit(model, static_argnums=3)(laid_out.tokens, laid_out.positions, visible, dtype)
    return np.asarray(model.logits(hidden), np.float32)
