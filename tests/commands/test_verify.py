"""Verify agrees with engines that are right, and names what one that is wrong does to scores."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.converters.engine_stand_in import serving
from toolrm_jax.cli import main

HASHES = dict.fromkeys(("training_config_hash", "data_card_hash"), "0" * 64)


def export_of(made, chat, output):
    """The model of the folder `made` exported in float32, with a random head where it has none."""
    import jax
    from flax import nnx

    from toolrm_jax.converters.huggingface import export_folder, model_tensors
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import load_model

    model, missing = load_model(made)
    if "score.weight" in missing:
        model.score = nnx.Param(jax.random.normal(jax.random.key(0), (model.config.hidden_size, 1)) / 4)
    return export_folder(
        output,
        config=read_config(made),
        tensors=model_tensors(model, "reward"),
        chat=chat,
        facts=HASHES | {"mean": 0.0, "std": 1.0},
        card="# card\n",
        dtype="float32",
    )


@pytest.fixture(scope="module")
def exported(tiny_model, tmp_path_factory):
    """A reward model of random weights, exported."""
    from toolrm_jax.data.chat import Chat

    return export_of(tiny_model, Chat.load(tiny_model), tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture(scope="module")
def truth(exported):
    """Score and length of the hidden state by token ids."""
    from toolrm_jax.commands import verify
    from toolrm_jax.commands.trained import open_reward_model

    opened = open_reward_model(exported)
    _, groups = verify._encoded(opened)
    rows = [tuple(map(int, [*group.context, *answer])) for group in groups for answer in group.responses]
    scores, norms = verify._score(opened, groups, "float32"), verify._norms(opened, groups)
    return {row: (float(s), float(n)) for row, s, n in zip(rows, np.concatenate(scores), np.concatenate(norms))}


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_a_server_with_our_scores_agrees_one_by_one_and_in_batches(engine, exported, truth, capsys):
    with serving(engine, lambda row: truth[tuple(row)][0]) as (url, seen):
        words = [f"path={exported}", f"against={engine}", f"url={url}", "dtype=float32"]
        assert main(["verify", *words]) == 0
    assert seen == [1] * 17 + [16, 1]
    said = capsys.readouterr().out
    assert "17 answers to 6 conversations" in said
    assert "JAX in bfloat16: largest difference" in said
    assert f"{engine} at {url} in float32, 16 at a time: largest difference 0.0e+00, median 0.0e+00, 100.0% of" in said


@pytest.mark.parametrize(
    ("engine", "change", "says"),
    [
        (
            "vllm",
            lambda s, n: 1 / (1 + np.exp(-s)),
            "it puts a sigmoid on the score",
        ),
        ("sglang", lambda s, n: s / n, "it normalises the hidden state before the head"),
        ("vllm", lambda s, n: s * (1 + 1e-3), "rounding explains 1.0e-05"),
    ],
    ids=["sigmoid", "normalised", "a thousandth"],
)
def test_what_a_server_does_to_scores_is_named(engine, change, says, exported, truth, fails):
    with serving(engine, lambda row: change(*truth[tuple(row)])) as (url, _):
        said = fails("verify", f"path={exported}", f"against={engine}", f"url={url}", "dtype=float32")
    assert "scores do not agree" in said
    assert says in said


def test_of_a_server_that_turns_the_order_round_it_is_said(exported, truth, capsys):
    with serving("sglang", lambda row: -truth[tuple(row)][0]) as (url, _):
        words = ["verify", f"path={exported}", "against=sglang", f"url={url}", "dtype=float32"]
        assert main(words) == 2
    told = capsys.readouterr()
    assert ", 0.0% of " in told.out
    assert "no pairs" not in told.out
    assert "scores do not agree" in told.err


def test_a_folder_whose_scores_engines_would_read_elsewhere_is_refused_unasked(exported, tmp_path, fails):
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    config = json.loads((folder / "config.json").read_text())
    for change, says in (
        ({"pad_token_id": config["eos_token_id"]}, "pad_token_id is the end-of-turn token"),
        ({"pad_token_id": None}, "pad_token_id is not set"),
        ({"problem_type": None}, "so engines put a sigmoid on the score"),
        ({"id2label": None, "label2id": None}, "SGLang normalises"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert says in fails("verify", f"path={folder}", "against=vllm")


def test_what_cannot_be_verified_is_one_line(exported, tmp_path, fails):
    assert "no exported folder" in fails("verify", f"path={tmp_path}")
    assert "url= is of a server" in fails("verify", f"path={exported}", "url=http://127.0.0.1:9")
    assert "start the server" in fails("verify", f"path={exported}", "against=sglang", "url=http://127.0.0.1:9")
    assert "cannot be run" in fails("verify", f"path={exported}", f"python={tmp_path / 'python'}")


def agrees_with_transformers(folder, capsys, *words) -> str:
    assert main(["verify", f"path={folder}", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "in float32, " in line]) == 3, "one by one, padded left and right"
    assert len([line for line in lines if "in bfloat16, " in line]) == 3
    assert all("100.0% of" in line for line in lines if "in float32, " in line)
    return "\n".join(lines)


def test_transformers_gives_our_scores_padded_on_either_side(exported, capsys):
    pytest.importorskip("torch", reason="torch (extra `hf`) runs transformers' models")
    assert "against transformers 5" in agrees_with_transformers(exported, capsys)


OLDER = os.environ.get("TOOLRM_OLDER_PYTHON", "")
"""A Python with torch and transformers 4.55; `make test-older` makes it and sets this."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "Qwen3Moe"])
def test_every_architecture_scores_alike_in_transformers_of_both_generations(kind, tiny_model, tmp_path, capsys):
    pytest.importorskip("torch", reason="torch (extra `hf`) makes the models")
    from tests.models.tiny import make
    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.config import read_config

    # Not the default theta: an engine that reads none of ours would part from us.
    rope = {"rope_type": "default", "rope_theta": 5e5}
    sizes = {"vocab_size": read_config(tiny_model)["vocab_size"], "max_position_embeddings": 1024}
    if kind == "Qwen3Moe":
        sizes["moe_intermediate_size"] = 32  # torch's grouped product wants rows of 16 bytes, in bfloat16 too
    make(kind, tmp_path / "made", rope_parameters=rope, **sizes)
    folder = export_of(tmp_path / "made", Chat.load(tiny_model), tmp_path / "model")
    assert "against transformers 5" in agrees_with_transformers(folder, capsys)
    if not OLDER:
        pytest.skip("TOOLRM_OLDER_PYTHON names no Python with transformers 4.55; `make test-older` does")
    assert "against transformers 4.55" in agrees_with_transformers(folder, capsys, f"python={Path(OLDER).absolute()}")
