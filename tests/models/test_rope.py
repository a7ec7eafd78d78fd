"""Rotary frequencies and their scalings are those of transformers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")

import transformers  # noqa: E402
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: E402

from toolrm_jax.errors import ModelError  # noqa: E402
from toolrm_jax.models.config import TrunkConfig  # noqa: E402
from toolrm_jax.models.rope import rotary  # noqa: E402

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALINGS = {
    "Qwen's YaRN": YARN,
    "YaRN of no original length": {"rope_type": "yarn", "factor": 2.0},
    "YaRN with its own betas": YARN | {"beta_fast": 16, "beta_slow": 2.0},
    "YaRN untruncated": YARN | {"truncate": False},
    "YaRN with an attention factor": YARN | {"attention_factor": 0.7},
    "YaRN with mscales": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5},
    "YaRN with one mscale": YARN | {"mscale": 0.8},
    "YaRN by a factor of one": YARN | {"factor": 1.0},
    "YaRN of a short context": YARN | {"original_max_position_embeddings": 20, "factor": 1.5},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "Llama 3.1": LLAMA3 | {"original_max_position_embeddings": 8192},
    "Llama 3.2": LLAMA3 | {"original_max_position_embeddings": 8192, "factor": 32.0},
}


def settings(scaling: dict, head_dim: int = 128, theta: float = 1e6) -> dict:
    sizes = {"vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": head_dim}
    return {**sizes, **heads, "rope_parameters": scaling | {"rope_theta": theta}, "max_position_embeddings": 40960}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize(("head_dim", "theta"), [(128, 1e6), (64, 5e5), (20, 1e4)])
def test_frequencies_and_attention_factor_are_those_of_transformers(name, head_dim, theta):
    given = settings(dict(SCALINGS[name]), head_dim, theta)
    reference = transformers.Qwen3Config(**{**given, "rope_parameters": dict(given["rope_parameters"])})
    theirs, factor = ROPE_INIT_FUNCTIONS[SCALINGS[name]["rope_type"]](reference)
    # As saved by transformers 5 (`rope_parameters`), and as models were published before (`rope_scaling` with `type`).
    old = dict(given["rope_parameters"])
    old["type"] = old.pop("rope_type")
    before = {**given, "rope_scaling": old, "rope_theta": old.pop("rope_theta")}
    del before["rope_parameters"]
    for config in (reference.to_dict(), before | {"model_type": "qwen3"}):
        ours = TrunkConfig.from_huggingface(config)
        assert ours.rope_scaling.attention_scale == pytest.approx(factor, rel=1e-12)
        np.testing.assert_allclose(ours.rope_scaling.frequencies(ours.rope_theta, head_dim), theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["Qwen's YaRN", "Llama 3.1"])
def test_cosines_and_sines_of_far_positions_are_those_of_transformers(name):
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    given = settings(dict(SCALINGS[name]))
    config = transformers.Qwen3Config(**given)
    positions = np.array([[0, 1, 1000, 16383, 32767]])
    theirs = Qwen3RotaryEmbedding(config)(torch.zeros(1), torch.tensor(positions))
    ours = TrunkConfig.from_huggingface(config.to_dict())
    found = rotary(jnp.array(positions), ours.rope_theta, ours.rope_scaling, ours.head_dim)
    for mine, their in zip(found, theirs):
        # An angle of 30,000 radians has steps of 0.002 in float32, in theirs as in ours.
        np.testing.assert_allclose(mine[:, :, 0], their, atol=5e-3)
        np.testing.assert_allclose(mine[:, :3, 0], their[:, :3], atol=2e-4)


def test_yarn_stretches_the_longest_sequence():
    config = settings(YARN) | {"model_type": "qwen3", "max_position_embeddings": 32768}
    assert TrunkConfig.from_huggingface(config).max_position_embeddings == 4 * 32768
    assert TrunkConfig.from_huggingface(config | {"max_position_embeddings": 2**18}).max_position_embeddings == 2**18


@pytest.mark.parametrize(
    ("scaling", "says"),
    [
        ({"rope_type": "longrope", "factor": 2.0}, "'longrope' is not supported; known: default, linear, llama3, yarn"),
        ({"rope_type": "yarn"}, "'yarn' needs factor, which is missing"),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}, "'llama3' needs high_freq_factor"),
        (YARN | {"factor": -1}, "factor is -1, expected a positive number"),
        (YARN | {"factor": "4"}, "factor is '4', expected a positive number"),
        (YARN | {"original_max_position_embeddings": "32k"}, "original_max_position_embeddings is '32k'"),
        (LLAMA3 | {"high_freq_factor": 0.5}, "high_freq_factor 0.5 is not above low_freq_factor 1.0"),
        (YARN | {"mrope_section": [1, 2]}, "'mrope_section' is not known"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 is not supported"),
    ],
)
def test_a_scaling_that_cannot_be_followed_is_refused_in_one_line(scaling, says):
    with pytest.raises(ModelError, match=r"^config\.json: ") as problem:
        TrunkConfig.from_huggingface(settings(scaling) | {"model_type": "qwen3"})
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)
