"""Adapters give the same scores merged at export and beside the backbone, as PEFT loads them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from toolrm_jax.converters.lora import Lora, Loras, export_peft, merged
from toolrm_jax.converters.safetensors_file import PendingTensor
from toolrm_jax.errors import ModelError

Q, DOWN = "self_attn.q_proj.weight", "mlp.down_proj.weight"


class Chat:
    end_of_turn, end_of_turn_id, pad_id = "<|im_end|>", 2, 0

    def save(self, folder):
        (folder / "tokenizer.json").write_text("{}")


def pending(**values):
    return [PendingTensor(name.replace("__", "."), value.shape, lambda v=value: v) for name, value in values.items()]


def test_what_is_merged_is_alpha_over_rank_times_b_times_a():
    model = pending(x__weight=np.ones((3, 2), np.float32), y__weight=np.full((1, 2), 7, np.float32))
    lora = Lora(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]))
    one, other = merged(model, Loras({"x.weight": lora}, alpha=1.0))
    np.testing.assert_array_equal(one.make(), [[1.5, 2], [1, 1.5], [0.5, 0.5]])
    assert other is model[1]


def test_an_adapter_that_does_not_fit_is_refused(tmp_path):
    model = pending(x__weight=np.ones((3, 2), np.float32))
    a, b = np.ones((4, 2)), np.ones((3, 4))
    cases = [
        (lambda: Loras({}, 1.0), "no adapter is given"),
        (lambda: Loras({"x.weight": Lora(a, b.T)}, 1.0), r"adapter of x.weight: A has shape \(4, 2\), B \(4, 3\)"),
        (lambda: Loras({"x.weight": Lora(a, b), "y.weight": Lora(a[:1], b[:, :1])}, 1.0), "rank 1, others have 4"),
        (lambda: merged(model, Loras({"y.weight": Lora(a, b)}, 1.0)), "y.weight: the model has no such tensor"),
        (
            lambda: merged(model, Loras({"x.weight": Lora(a, b[:2])}, 1.0)),
            r"of a matrix \(2, 2\), the model's",
        ),
    ]
    for run, says in cases:
        with pytest.raises(ModelError, match=says):
            run()
    settings = {"base": "owner/name", "chat": Chat(), "card": ""}
    with pytest.raises(ModelError, match=r"the model has no score\.weight"):
        export_peft(tmp_path / "out", tensors=model, loras=Loras({"x.weight": Lora(a, b)}, 1.0), **settings)
    expert = "layers.0.mlp.experts.1.up_proj.weight"
    model = [PendingTensor(expert, (3, 2), lambda: np.ones((3, 2)))]
    with pytest.raises(ModelError, match="PEFT's format has no place for it"):
        export_peft(tmp_path / "out", tensors=model, loras=Loras({expert: Lora(a, b)}, 1.0), **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A random classifier that transformers made and we read: its folder, config and tensors."""
    pytest.importorskip("torch", reason="torch (extra `hf`) makes the model")
    from tests.models.tiny import make
    from toolrm_jax.converters.huggingface import model_tensors
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import load_model

    folder = tmp_path_factory.mktemp("backbone") / "model"
    make("Qwen3", folder, hidden_size=16, intermediate_size=24, head_dim=8, num_hidden_layers=2, vocab_size=50)
    return folder, read_config(folder), model_tensors(load_model(folder)[0], "reward")


def random_loras(tensors, names, seed=0):
    shapes, random = {tensor.name: tensor.shape for tensor in tensors}, np.random.default_rng(seed)
    draw = lambda *shape: random.normal(size=shape).astype(np.float32) / 4  # noqa: E731
    return Loras({name: Lora(draw(3, shapes[name][1]), draw(shapes[name][0], 3)) for name in names}, alpha=6.0)


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        ([f"model.layers.{i}.{x}" for i in range(2) for x in (Q, DOWN)], ["down_proj", "q_proj"]),
        (["model.layers.1." + Q], ["model.layers.1.self_attn.q_proj"]),
    ],
    ids=["every layer", "one layer"],
)
def test_peft_gives_the_scores_of_the_merged_model_and_of_jax(backbone, names, targets, tmp_path):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft", reason="peft reads the folder back")
    import jax.numpy as jnp
    import transformers

    from tests.models.tiny import scores
    from toolrm_jax.converters.huggingface import export_folder
    from toolrm_jax.models.attention import Visible
    from toolrm_jax.models.folder import load_model

    folder, config, tensors = backbone
    loras = random_loras(tensors, names)
    head = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    tensors = [PendingTensor(t.name, t.shape, lambda: head) if t.name == "score.weight" else t for t in tensors]
    facts = dict.fromkeys(("training_config_hash", "data_card_hash"), "0" * 64) | {"mean": 0.0, "std": 1.0}
    whole = export_folder(
        tmp_path / "whole",
        config=config,
        tensors=merged(tensors, loras),
        chat=Chat(),
        facts=facts,
        card="",
        dtype="float32",
    )
    beside = export_peft(tmp_path / "peft", base=str(folder), tensors=tensors, loras=loras, chat=Chat(), card="")
    assert json.loads((beside / "adapter_config.json").read_text())["target_modules"] == targets

    loaded = peft.AutoPeftModelForSequenceClassification.from_pretrained(beside, num_labels=1, dtype=torch.float32)
    merged_there = transformers.AutoModelForSequenceClassification.from_pretrained(whole, dtype=torch.float32)
    ours, _ = load_model(whole)
    row = np.random.default_rng(2).integers(1, 50, 23)
    with torch.no_grad():
        by_peft, by_transformers = float(scores(loaded, row)), float(scores(merged_there, row))
    at = jnp.arange(len(row))[None]
    by_us = float(ours(jnp.asarray(row)[None], at, Visible.of(jnp.ones_like(at), jnp.zeros_like(at)))[1][0, -1])
    assert by_peft == pytest.approx(by_transformers, rel=1e-5)
    assert by_peft == pytest.approx(by_us, rel=1e-5)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    base.score.weight.data = torch.tensor(head)
    with torch.no_grad():
        assert abs(float(scores(base, row)) - by_peft) > 1e-2, "the adapters do something"
