"""task=sft: the loss of a causal language model on the right answer alone, through the loop of every other run."""

from __future__ import annotations

import chz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train.test_loop import SHAPE, config, groups
from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.store import reference_alone
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.folder import load_model
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.train.config import TrainConfig, run_mesh
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loop import train
from toolrm_jax.train.loss import LossWeights, total_loss
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.step import loss_sums, split

# Both sides compute in float32; sums are taken in another order.
TOLERANCE = 1e-5
WEIGHTS = TrainConfig(output="", model=None, data=None, task="sft").loss_weights


def policy(folder, **changes) -> TrainConfig:
    return config(folder, task="sft", loss=LossWeights(), **changes)


@pytest.mark.parametrize("tied", [True, False])
def test_loss_and_gradient_equal_those_of_transformers_with_labels_masked_to_the_answer(tmp_path, tied):
    torch = pytest.importorskip("torch")
    from tests.models.tiny import make
    from toolrm_jax.converters.huggingface import model_tensors

    reference = make("Qwen3", tmp_path, "ForCausalLM", tie_word_embeddings=tied)
    draw = np.random.default_rng(0)
    made = [
        TokenGroup(str(n), "made", draw.integers(1, 211, draw.integers(3, 20)), (draw.integers(1, 211, 2 + 3 * n),),
                   (True,), ("",))
        for n in range(4)
    ]  # fmt: skip
    longest = max(group.size for group in made)
    ids, labels = np.zeros((4, longest), np.int64), np.full((4, longest), -100, np.int64)
    for row, group in enumerate(made):
        ids[row, : group.size] = np.concatenate([group.context, group.responses[0]])
        labels[row, len(group.context) : group.size] = group.responses[0]
    seen = torch.tensor(np.arange(longest)[None] < np.array([[group.size] for group in made]))
    out = reference(torch.tensor(ids), attention_mask=seen, labels=torch.tensor(labels))
    out.loss.backward()

    ours, _ = load_model(tmp_path)
    rows = jax.tree.map(jnp.asarray, stack([lay_out(made[:3], 96, 6), lay_out(made[3:], 96, 6)]))
    graph, params, frozen = split(ours, "sft")

    def objective(params):
        sums = loss_sums(nnx.merge(graph, params, frozen), rows, WEIGHTS, jnp.float32, most_right_tokens=40)
        return total_loss(sums, WEIGHTS)

    loss, slopes = jax.jit(jax.value_and_grad(objective))(params)
    assert float(loss) == pytest.approx(out.loss.item(), abs=TOLERANCE)
    found = {tensor.name: tensor.make() for tensor in model_tensors(nnx.merge(graph, slopes, frozen), "policy")}
    expected = {name: weight.grad.numpy() for name, weight in reference.named_parameters()}
    assert found.keys() == expected.keys()
    assert ("lm_head.weight" in found) != tied
    largest = max(np.abs(values).max() for values in expected.values())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, atol=TOLERANCE * largest, err_msg=name)


def test_a_weight_on_contexts_adds_transformers_loss_on_their_tokens_each_once_beside_the_ranking(tmp_path):
    torch = pytest.importorskip("torch")
    from tests.models.tiny import make
    from toolrm_jax.converters.huggingface import model_tensors

    weight, reference = 0.5, make("Qwen3", tmp_path, "ForCausalLM")
    draw = np.random.default_rng(1)
    made = [
        TokenGroup(str(n), "made", draw.integers(1, 211, 2 + 9 * n), tuple(draw.integers(1, 211, (2, 3))),
                   (True, False), ("", "x"))
        for n in range(4)
    ]  # fmt: skip
    longest = max(len(group.context) for group in made)
    ids, labels = np.zeros((4, longest), np.int64), np.full((4, longest), -100, np.int64)
    for row, group in enumerate(made):
        ids[row, : len(group.context)] = labels[row, : len(group.context)] = group.context
    seen = torch.tensor(np.arange(longest)[None] < np.array([[len(group.context)] for group in made]))
    out = reference(torch.tensor(ids), attention_mask=seen, labels=torch.tensor(labels))
    out.loss.backward()

    ours, _ = load_model(tmp_path)
    rows = jax.tree.map(jnp.asarray, stack([lay_out(made[:3], 96, 6), lay_out(made[3:], 96, 6)]))
    graph, params, frozen = split(ours, "sft")

    def objective(params, weights):
        sums = loss_sums(nnx.merge(graph, params, frozen), rows, weights, jnp.float32)
        return total_loss(sums, weights)

    value = jax.jit(jax.value_and_grad(objective), static_argnums=1)
    plain, slopes = value(params, LossWeights())
    with_contexts, more = value(params, LossWeights(next_token_context=weight))
    assert float(with_contexts - plain) == pytest.approx(weight * out.loss.item(), abs=TOLERANCE)
    found = jax.tree.map(lambda a, b: (b - a) / weight, slopes, more)
    found = {tensor.name: tensor.make() for tensor in model_tensors(nnx.merge(graph, found, frozen), "policy")}
    expected = {name: one.grad.numpy() for name, one in reference.named_parameters()}
    largest = max(np.abs(values).max() for values in expected.values())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, atol=TOLERANCE * largest, err_msg=name)


def test_it_learns_to_say_the_right_answer_and_leaves_the_scalar_head_alone(tmp_path):
    data = chz.replace(config(tmp_path).data, epochs=40)
    kept = [reference_alone(group, None) for group in groups(80)]
    after = RewardModel(SHAPE, rngs=nnx.Rngs(7))
    before = after.score[...]
    assert train(
        policy(tmp_path, data=data, keep_best="next_token", evaluate_every=40, save_every=40),
        after,
        kept[:60],
        kept[60:],
    )
    records = read_metrics(tmp_path)
    held_out = [record["next_token"] for record in records if record["kind"] == "held_out"]
    # The right answer is one of 14 tokens, and the end of turn after it is certain.
    assert held_out[0] > 3 > 1.6 > held_out[-1] > np.log(14) / 2 - 0.05
    trained = [record for record in records if record["kind"] == "train"]
    assert all(record["loss"] == pytest.approx(record["next_token"]) for record in trained)
    assert "correct" not in trained[-1]
    assert trained[-1]["pairs"] == 0
    np.testing.assert_array_equal(after.score[...], before)


def test_what_a_policy_has_no_use_for_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="task=sft has the next-token loss alone"):
        run_mesh(chz.replace(policy(tmp_path), loss=LossWeights(margin=1.0)))
    with pytest.raises(ConfigError, match="no scalar head to fit"):
        run_mesh(policy(tmp_path, head_fit=HeadFit(steps=2)))
