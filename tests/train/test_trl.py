"""The loss and its gradient equal those of TRL's RewardTrainer on the same weights and pairs."""

from __future__ import annotations

import chz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.tiny import make
from toolrm_jax.data.rows import lay_out, stack
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.models.folder import load_model
from toolrm_jax.train.loss import LossWeights, total_loss
from toolrm_jax.train.step import loss_sums

# Both sides compute in float32; sums are taken in another order.
TOLERANCE = 1e-5


def pairs(vocabulary: int) -> list[TokenGroup]:
    """Pairs of unlike lengths, chosen and rejected with a context in common; rule scores make their margins."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(5):
        answers = tuple(draw.integers(1, vocabulary, draw.integers(2, 9)) for _ in range(2))
        context = draw.integers(1, vocabulary, draw.integers(3, 20))
        scores = tuple(float(score) for score in np.round(draw.random(2), 2))
        made.append(TokenGroup(str(number), "made", context, answers, (True, False), ("", "x"), scores))
    return made


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A function of (pairs, with margins, centring): TRL's loss and its gradients by published name, and the folder."""
    torch, trl, datasets = (pytest.importorskip(name) for name in ("torch", "trl", "datasets"))
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("trl")
    model = make("Qwen3", folder / "model")
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, "<unk>")), pad_token="<pad>", eos_token="</s>"
    )

    def run(groups: list[TokenGroup], margins: bool, centring: float | None):
        columns: dict[str, list] = {
            name: [np.concatenate([group.context, group.responses[k]]).tolist() for group in groups]
            for k, name in enumerate(("chosen_ids", "rejected_ids"))
        }
        if margins:
            columns["margin"] = [group.scores[0] - group.scores[1] for group in groups]
        args = trl.RewardConfig(
            str(folder / "run"),
            per_device_train_batch_size=len(groups),
            center_rewards_coefficient=centring,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
        )
        trainer = trl.RewardTrainer(
            model, args, train_dataset=datasets.Dataset.from_dict(columns), processing_class=tokenizer
        )
        batch = next(iter(trainer.get_train_dataloader()))
        model.zero_grad(set_to_none=True)
        loss = trainer.compute_loss(model, batch)
        loss.backward()
        return float(loss.detach()), {
            name: weight.grad.numpy().copy() for name, weight in model.named_parameters() if weight.grad is not None
        }

    assert torch.get_default_dtype() == torch.float32
    return run, folder / "model"


@pytest.mark.parametrize(("margins", "centring"), [(False, 0.01), (True, None)])
def test_loss_and_gradient_equal_those_of_trl(theirs, margins, centring):
    from toolrm_jax.converters.huggingface import model_tensors

    run, folder = theirs
    model, _ = load_model(folder)
    groups = pairs(model.config.vocab_size)
    loss, gradients = run(groups, margins, centring)
    # Three pairs in one row and two in the other: theirs have a row for each answer.
    rows = jax.tree.map(jnp.asarray, stack([lay_out(groups[:3], 96, 6), lay_out(groups[3:], 96, 6)]))
    weights = LossWeights(centring=centring or 0.0)
    weights = chz.replace(weights, rule_margin=1.0) if margins else weights
    graph, params = nnx.split(model)

    def objective(params):
        return total_loss(loss_sums(nnx.merge(graph, params), rows, weights, jnp.float32), weights)

    found, slopes = jax.jit(jax.value_and_grad(objective))(params)
    assert float(found) == pytest.approx(loss, abs=TOLERANCE)
    ours = {tensor.name: tensor.make() for tensor in model_tensors(nnx.merge(graph, slopes), "reward")}
    assert ours.keys() == gradients.keys()
    largest = max(np.abs(values).max() for values in gradients.values())
    assert largest > 0.01
    for name, values in gradients.items():
        np.testing.assert_allclose(ours[name], values, rtol=TOLERANCE, atol=TOLERANCE * largest, err_msg=name)
