"""One declaration per weight: walked for every preset, and what is counted from it."""

from __future__ import annotations

import dataclasses
import math

import jax
import pytest
from flax import nnx

from toolrm_jax.errors import ModelError
from toolrm_jax.models.declarations import declarations, flops_per_token, parameter_count
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.presets import PRESETS, preset
from toolrm_jax.models.weights import AXES
from toolrm_jax.parallel.rules import RULES, partition_spec

# Exact: `safetensors.total` of huggingface.co/api/models/Qwen/<name>, numbers that were counted from the published
# files, not from a config; the same stand in KerasHub's presets and as `general.parameter_count` in GGUF files. Those
# of Qwen3-0.6B and 1.7B hold the tied embedding twice.
TOTALS = {
    "SmolLM2-135M": 134_515_008,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen3-0.6B": 751_632_384 - 151_936 * 1024,
    "Qwen3-1.7B": 2_031_739_904 - 151_936 * 2048,
    "Qwen3-4B": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
}
# In billions, with and without embedding, as the model cards say; those of 14B and 32B are rounded down there.
CARDS = {
    "Qwen2.5-0.5B": (0.49, 0.36),
    "Qwen2.5-1.5B": (1.54, 1.31),
    "Qwen2.5-3B": (3.09, 2.77),
    "Qwen2.5-7B": (7.61, 6.53),
    "Qwen2.5-14B": (14.7, 13.1),
    "Qwen2.5-32B": (32.5, 31.0),
    "Qwen3-0.6B": (0.6, 0.44),
    "Qwen3-1.7B": (1.7, 1.4),
    "Qwen3-4B": (4.0, 3.6),
    "Qwen3-8B": (8.2, 6.95),
    "Qwen3-14B": (14.8, 13.2),
    "Qwen3-32B": (32.8, 31.2),
    "Qwen3-30B-A3B": (30.5, 29.9),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_published_number_of_parameters(name):
    count = parameter_count(preset(name))
    assert count.total == TOTALS[name]
    if name in CARDS:
        total, without_embedding = CARDS[name]
        assert count.total / 1e9 == pytest.approx(total, rel=0.013)
        assert count.without_embedding / 1e9 == pytest.approx(without_embedding, rel=0.01)


def test_of_experts_only_the_chosen_ones_are_active():
    count = parameter_count(preset("Qwen3-30B-A3B"))
    # 3.3 billion by the card; the whole number is an independent count of the tensors that one token meets.
    assert count.active == 3_353_032_704
    dense = parameter_count(preset("Qwen3-8B"))
    assert dense.active == dense.total


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("frozen_layers", [0, 5])
def test_the_declarations_are_the_parameters_and_each_axis_has_one_rule(name, frozen_layers):
    config = preset(name)
    declared = declarations(config, frozen_layers)
    model = nnx.eval_shape(lambda: RewardModel(config, frozen_layers=frozen_layers, rngs=nnx.Rngs(0)))
    held = dict(nnx.to_flat_state(nnx.split(model)[1]))
    assert set(held) == set(declared)
    names = set()
    for path, (weight, layers) in declared.items():
        stack = (len(layers),) if layers else ()
        axes = (("layers",) if layers else ()) + weight.axes
        assert held[path].get_value().shape == stack + weight.shape
        assert held[path].get_metadata("out_sharding") == axes
        assert set(axes) <= set(AXES) <= set(RULES)
        spec = partition_spec(axes)
        used = [one for part in spec if part for one in (part if isinstance(part, tuple) else (part,))]
        assert len(used) == len(set(used)), f"{path}: a mesh axis divides two dimensions"
        assert math.prod(weight.huggingface_shape) * (weight.experts or 1) == weight.size
        for layer in layers or (0,):
            for expert in range(weight.experts or 1):
                names.add(one := weight.huggingface.format(layer=layer, expert=expert))
                assert "{" not in one
    tensors = sum(len(layers or (0,)) * (weight.experts or 1) for weight, layers in declared.values())
    assert len(names) == tensors, "no two weights have the same name"


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("Qwen")])
@pytest.mark.parametrize("sizes", [{"fsdp": 64}, {"fsdp": 16, "tensor": 2}, {"expert": 8, "fsdp": 8}])
def test_weights_of_presets_divide_over_the_meshes_of_pods(name, sizes):
    for path, (weight, _) in declarations(preset(name)).items():
        for length, axis in zip(weight.shape, weight.axes):
            parts = math.prod(sizes.get(one, 1) for one in RULES[axis])
            assert length % parts == 0, f"{path}: {axis} {length} over {parts}"


def test_flops_are_two_for_each_weight_met_and_three_times_that_to_train():
    config = preset("Qwen3-8B")
    matrices = 36 * (4096 * 128 * (32 + 8 + 8 + 32) + 3 * 4096 * 12288) + 4096
    assert flops_per_token(config, 0) == 2 * matrices
    assert flops_per_token(config, 0, train=True) == 6 * matrices
    # Attention: a product with every key and one with every value, over 32 heads of 128.
    assert flops_per_token(config, 1000) - flops_per_token(config, 0) == 36 * 4 * 32 * 128 * 1000
    assert flops_per_token(config, 0, predicted=0.5) == 2 * matrices + 151936 * 4096
    assert flops_per_token(config, 0, train=True, frozen_layers=36) == 2 * matrices + 4 * 4096
    layer = flops_per_token(config, 7, train=True, frozen_layers=20) - flops_per_token(
        config, 7, frozen_layers=21, train=True
    )
    assert layer == 2 * (flops_per_token(config, 7) - 2 * 4096) / 36


def test_flops_equal_what_the_compiler_counts():
    """XLA's own count of the forward pass of matrix products, on a model small enough to compile."""
    import dataclasses

    import jax.numpy as jnp

    from toolrm_jax.models.attention import Visible

    config = dataclasses.replace(preset("Qwen2.5-0.5B"), num_hidden_layers=1, vocab_size=64, hidden_size=448)
    model = RewardModel(config, rngs=nnx.Rngs(0))
    tokens = jnp.zeros((1, 128), jnp.int32)

    def forward(tokens):
        return model(tokens, tokens, Visible.of(tokens + 1, tokens))[1]

    counted = jax.jit(forward).lower(tokens).compile().cost_analysis()["flops"]
    # One block of queries: every key of the block is multiplied, seen or not. The rest: norms, softmax, rotations.
    assert 1.0 < counted / (128 * flops_per_token(config, 128)) < 1.05


def test_an_unknown_preset_is_refused_with_the_nearest():
    assert preset("qwen3-8b") is PRESETS["Qwen3-8B"]
    with pytest.raises(ModelError, match=r"no preset 'Qwen3-9B'; the nearest are .*Qwen3-8B"):
        preset("Qwen3-9B")
    with pytest.raises(ModelError, match=r"no preset 'x'; known: SmolLM2-135M"):
        preset("x")


def test_a_fresh_language_model_head_gives_logits_of_the_size_that_a_tied_one_gives():
    """Its inputs are the model's width, whatever the vocabulary: both matrices start alike."""
    shape = dataclasses.replace(preset("Qwen3-8B"), vocab_size=4096, hidden_size=64, num_hidden_layers=1)
    assert not shape.tie_word_embeddings
    model = RewardModel(shape, rngs=nnx.Rngs(0))
    for matrix in (model.lm_head[...], model.trunk.embedding[...]):
        assert float(matrix.std()) == pytest.approx(0.02, rel=0.02)
