"""Scores and gradients of packed shared-prefix rows are those of transformers on each sequence alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")

from flax import nnx  # noqa: E402

from tests.models.tiny import KINDS, make, published, scores  # noqa: E402
from toolrm_jax.data.packing import pack  # noqa: E402
from toolrm_jax.data.rows import lay_out, stack  # noqa: E402
from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.errors import ModelError  # noqa: E402
from toolrm_jax.evals import tree_rows  # noqa: E402
from toolrm_jax.evals.scoring import log_likelihood, score  # noqa: E402
from toolrm_jax.models.attention import Visible  # noqa: E402
from toolrm_jax.models.folder import huggingface_tensors, load_model  # noqa: E402

LENGTH, SLOTS = 320, 24


def random_groups(count: int, seed: int) -> list[TokenGroup]:
    """Groups of 1 to 8 answers, of contexts and answers of unlike lengths, an answer of one token among them."""
    random = np.random.default_rng(seed)
    groups = []
    for number in range(count):
        answers = tuple(random.integers(1, 211, random.integers(1, 20)) for _ in range(1 + number % 8))
        right = tuple(index == 0 for index in range(len(answers)))
        context = random.integers(1, 211, random.integers(1, 60))
        groups.append(TokenGroup(str(number), "made", context, answers, right, ("",) * len(answers)))
    return groups


def packed(groups: list[TokenGroup]):
    rows = pack([g.size for g in groups], [len(g.responses) for g in groups], LENGTH, SLOTS)
    order = [index for row in rows for index in row]
    return stack([lay_out([groups[i] for i in row], LENGTH, SLOTS) for row in rows]), [groups[i] for i in order]


def row_scores(model, rows):
    _, rewards = model(rows.tokens, rows.positions, Visible.of(rows.group, rows.response))
    return jnp.take_along_axis(rewards, rows.score_at, axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen_layers", [0, 2])
def test_scores_of_rows_equal_those_of_each_sequence_alone(kind, frozen_layers, tmp_path):
    reference = make(kind, tmp_path)
    model, _ = load_model(tmp_path, frozen_layers=frozen_layers)
    rows, groups = packed(random_groups(24, seed=1))
    assert len(rows.tokens) < len(groups), "several groups must share a row for this test to say anything"
    ours = np.asarray(row_scores(model, rows))[rows.slot_group > 0]
    with torch.no_grad():
        theirs = [float(scores(reference, np.concatenate([g.context, a]))) for g in groups for a in g.responses]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_rows_equal_those_of_each_sequence_alone(kind, tmp_path):
    reference = make(kind, tmp_path)
    model, _ = load_model(tmp_path)
    rows, groups = packed(random_groups(10, seed=2))
    graph, state = nnx.split(model)
    weights = np.random.default_rng(3).normal(size=rows.score_at.shape).astype(np.float32) * (rows.slot_group > 0)
    gradient = jax.grad(lambda s: jnp.sum(jnp.tanh(row_scores(nnx.merge(graph, s), rows)) * weights))(state)
    answers = [np.concatenate([g.context, a]) for g in groups for a in g.responses]
    total = sum(torch.tanh(scores(reference, a)) * float(w) for a, w in zip(answers, weights[rows.slot_group > 0]))
    total.backward()
    ours = dict(huggingface_tensors(nnx.merge(graph, gradient)))
    gradients = {name: weight.grad for name, weight in reference.named_parameters()}
    for name, weight in published(gradients.items()):
        theirs = weight.numpy()
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max(), err_msg=name)


def test_a_neighbour_in_the_row_moves_no_other_score(tmp_path):
    make("Qwen3", tmp_path)
    model, _ = load_model(tmp_path)
    groups = random_groups(4, seed=4)
    before = row_scores(model, stack([lay_out(groups, LENGTH, SLOTS)]))
    other = random_groups(4, seed=5)[1]
    changed = TokenGroup("x", "made", groups[1].context[::-1], other.responses, groups[1].right, groups[1].kinds)
    rows = stack([lay_out([groups[0], changed, *groups[2:]], LENGTH, SLOTS)])
    after = row_scores(model, rows)
    same = rows.slot_group != 2
    np.testing.assert_allclose(before[same], after[same], rtol=0, atol=2e-6)
    assert np.abs(np.asarray(before - after)[~same]).max() > 1e-3


def test_an_answer_does_not_see_its_siblings(tmp_path):
    make("Llama", tmp_path)
    model, _ = load_model(tmp_path)
    (group,) = random_groups(8, seed=6)[7:]
    alone = score(model, [TokenGroup("x", "made", group.context, group.responses[3:4], (True,), ("",))])[0]
    together = score(model, [group])[0]
    np.testing.assert_allclose(together[3], alone[0], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_log_likelihood_equals_that_of_transformers(kind, tied, tmp_path):
    reference = make(kind, tmp_path, "ForCausalLM", tie_word_embeddings=tied)
    model, missing = load_model(tmp_path)
    assert missing == ("score.weight",)
    groups = random_groups(9, seed=7)
    theirs = []
    for group in groups:
        for answer in group.responses:
            ids = torch.tensor(np.concatenate([group.context, answer]).astype(np.int64))
            with torch.no_grad():
                logp = torch.log_softmax(reference(ids[None]).logits[0], -1)[:-1]
            taken = logp.gather(1, ids[1:, None])[len(group.context) - 1 :, 0]
            theirs.append(float(taken.sum()))
    ours = np.concatenate(log_likelihood(model, groups))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)


def test_more_answers_than_a_row_has_slots_are_scored_in_pieces(tmp_path):
    make("Llama", tmp_path)
    model, _ = load_model(tmp_path)
    random = np.random.default_rng(8)
    count, some = tree_rows.SLOTS + 40, slice(tree_rows.SLOTS - 4, tree_rows.SLOTS + 6)
    answers = tuple(random.integers(1, 211, 4) for _ in range(count))
    group = TokenGroup("many", "made", random.integers(1, 211, 30), answers, (False,) * count, ("",) * count)
    one_by_one = [
        score(model, [TokenGroup("one", "made", group.context, (a,), (False,), ("",))])[0][0] for a in answers[some]
    ]
    np.testing.assert_allclose(score(model, [group])[0][some], one_by_one, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_bit_for_bit(kind, tmp_path):
    reference = make(kind, tmp_path)
    ours = dict(huggingface_tensors(load_model(tmp_path, frozen_layers=1)[0]))
    for name, weight in published(reference.state_dict().items()):
        np.testing.assert_array_equal(ours[name], weight.numpy(), err_msg=name)


def test_a_backbone_cut_to_its_lower_layers_equals_transformers_without_the_upper_ones(tmp_path):
    reference = make("Qwen2", tmp_path)
    model, _ = load_model(tmp_path, layers=2, frozen_layers=1)
    reference.model.layers = reference.model.layers[:2]
    (group,) = random_groups(3, seed=9)[2:]
    with torch.no_grad():
        theirs = [float(scores(reference, np.concatenate([group.context, a]))) for a in group.responses]
    np.testing.assert_allclose(score(model, [group])[0], theirs, rtol=1e-5)
    with pytest.raises(ModelError, match="4 layers cannot be kept, the model has 3"):
        load_model(tmp_path, layers=4)
