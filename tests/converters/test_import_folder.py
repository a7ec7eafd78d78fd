"""A folder comes in bit for bit: by import into a folder, and through the model and Orbax out to a folder again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests.converters.made_folder import TOKENIZER, made_weights, same_bits, small_config, write_folder
from tests.converters.tiny_policy import tiny_chat
from toolrm_jax.converters.huggingface import export_folder, model_tensors
from toolrm_jax.converters.import_folder import import_folder
from toolrm_jax.data.template import chatml_tools
from toolrm_jax.errors import ModelError, ToolrmError

KINDS = ("llama", "qwen2", "qwen3", "qwen3_moe")
GB = 10**9


def read(folder):
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


TEXTS = ("", " a  b\n", 'Köln 12 {"days": 3}', "<|im_start|>user\n<|im_end|>", "\u0000👍🏽<|endoftext|>x")
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Rain in Köln?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "rain", "arguments": {"city": "Köln"}}}]},
    {"role": "tool", "content": "3 mm"},
]
TOOLS = [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "properties": {}}}}]


def with_tokenizer(folder):
    """Real tokenizer files, with a template, in the place of the made-up ones."""
    tiny_chat(folder)
    (folder / "chat_template.jinja").write_text(chatml_tools())
    (folder / "merges.txt").unlink()


def same_tokenizer(there, here):
    """Fail unless transformers reads the same tokens, special tokens and template out of both folders."""
    from transformers import AutoTokenizer

    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (there, here))
    assert after.get_vocab() == before.get_vocab()
    assert after.special_tokens_map == before.special_tokens_map
    assert "pad_token" in before.special_tokens_map
    for text in TEXTS:
        assert after(text).input_ids == before(text).input_ids, text
    for prompt in (False, True):
        told, written = (
            one.apply_chat_template(CONVERSATION, tools=TOOLS, add_generation_prompt=prompt, tokenize=False)
            for one in (before, after)
        )
        assert written == told
        assert "Köln" in told


@st.composite
def shapes(draw):
    """A shrunken config, the task, the dtype, and how many files."""
    kv = draw(st.integers(1, 2))
    changes = {
        "vocab_size": draw(st.integers(3, 30)),
        "hidden_size": draw(st.sampled_from([4, 6, 10])),
        "intermediate_size": draw(st.integers(1, 9)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_key_value_heads": kv,
        "num_attention_heads": kv * draw(st.integers(1, 3)),
        "head_dim": 2 * draw(st.integers(1, 3)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    kind = draw(st.sampled_from(KINDS))
    if kind == "llama":  # transformers reads no other
        changes["hidden_size"] = changes["num_attention_heads"] * draw(st.integers(1, 3))
    config = small_config(kind, **changes)
    task = draw(st.sampled_from(["reward", "policy"]))
    return config, task, draw(st.sampled_from(["float32", "float16", "bfloat16"])), draw(st.integers(1, 3))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes(), st.integers(0, 2**32 - 1))
def test_a_folder_is_imported_bit_for_bit(tmp_path_factory, shape, seed):
    config, task, dtype, files = shape
    there, here = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b") / "out"
    weights = made_weights(config, task, dtype, seed)
    write_folder(there, config, weights, files=files, task=task)
    _, missing = import_folder(there, here, max_shard_size=200)
    same_bits(read(here), weights)
    assert missing == (
        ("score.weight",) if task == "policy" else () if config["tie_word_embeddings"] else ("lm_head.weight",)
    )
    for name, text in TOKENIZER.items():
        assert (here / name).read_bytes() == text.encode()


def through_orbax(there, output, folder, task, dtype, frozen_layers):
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import load_model
    from toolrm_jax.train.checkpoints import Checkpoints
    from toolrm_jax.train.layout import TrainState
    from toolrm_jax.train.step import split

    with_tokenizer(there)
    model, _ = load_model(there, frozen_layers=frozen_layers, dtype=jnp.dtype(dtype))
    graph, params, frozen = split(model)
    checkpoints = Checkpoints(folder, 1)
    state = TrainState(params, {}, jnp.zeros((), jnp.int32))
    checkpoints.save(state, frozen, {}, {})
    checkpoints.manager.wait_until_finished()
    blank = jax.tree.map(jnp.zeros_like, (state, frozen))
    state, frozen, _ = checkpoints.restore(0, *blank)
    checkpoints.close()
    hashes = dict.fromkeys(("training_config_hash", "data_card_hash"), "0" * 64)
    return export_folder(
        output,
        config=read_config(there),
        tensors=model_tensors(nnx.merge(graph, state.params, frozen), task),
        chat=Chat.load(there),
        facts=hashes | ({"mean": 0.0, "std": 1.0} if task == "reward" else {}),
        card="# card\n",
        task=task,
        dtype=dtype,
        max_shard_size=500,
    )


@pytest.fixture
def _without_torch(monkeypatch):
    """The shapes that transformers asks for are another test's: here its import would be most of the time."""
    monkeypatch.setattr("toolrm_jax.converters.huggingface.has_torch", lambda: False)


@pytest.mark.usefixtures("_without_torch")
@pytest.mark.parametrize(
    ("kind", "task", "dtype", "tied", "frozen"),
    [
        ("llama", "reward", "float32", True, 0),
        ("qwen2", "policy", "bfloat16", False, 1),
        ("qwen3", "policy", "float16", True, 0),
        ("qwen3_moe", "reward", "bfloat16", False, 1),
    ],
)
def test_through_the_model_and_orbax_every_bit_comes_out_again(kind, task, dtype, tied, frozen, tmp_path):
    config = small_config(kind, tie_word_embeddings=tied)
    weights = made_weights(config, task, dtype)
    write_folder(tmp_path / "in", config, weights, files=2, task=task)
    out = through_orbax(tmp_path / "in", tmp_path / "out", tmp_path / "checkpoints", task, dtype, frozen)
    same_bits(read(out), weights)
    same_tokenizer(tmp_path / "in", out)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.usefixtures("_without_torch")
@given(shapes(), st.integers(0, 2**32 - 1), st.integers(0, 1))
def test_through_the_model_and_orbax_every_shape_comes_out_again(tmp_path_factory, shape, seed, frozen):
    config, task, dtype, files = shape
    folder = tmp_path_factory.mktemp("road")
    weights = made_weights(config, task, dtype, seed)
    write_folder(folder / "in", config, weights, files=files, task=task)
    same_bits(read(through_orbax(folder / "in", folder / "out", folder / "steps", task, dtype, frozen)), weights)
    same_tokenizer(folder / "in", folder / "out")


def test_fused_experts_come_in_one_by_one(tmp_path):
    config = small_config("qwen3_moe")
    weights = made_weights(config, "policy", "bfloat16")
    fused = dict(weights)
    for layer in range(2):
        stem = f"model.layers.{layer}.mlp.experts."
        gate, up, down = (
            np.stack([fused.pop(f"{stem}{expert}.{part}_proj.weight") for expert in range(4)])
            for part in ("gate", "up", "down")
        )
        fused |= {f"{stem}gate_up_proj": np.concatenate([gate, up], axis=1), f"{stem}down_proj": down}
    write_folder(tmp_path / "in", config, fused)
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    same_bits(read(tmp_path / "out"), weights)


def test_mixed_dtypes_become_the_widest_and_a_dtype_asked_for_is_given(tmp_path):
    config = small_config("llama")
    weights = made_weights(config, "policy", "bfloat16")
    weights = {name: value.astype(np.float32) if "norm" in name else value for name, value in weights.items()}
    write_folder(tmp_path / "in", config, weights)
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    same_bits(read(tmp_path / "out"), {name: value.astype(np.float32) for name, value in weights.items()})
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"
    import_folder(tmp_path / "in", tmp_path / "half", dtype="bfloat16", max_shard_size=GB)
    assert {str(value.dtype) for value in read(tmp_path / "half").values()} == {"bfloat16"}


def test_settings_are_written_for_transformers_4_and_5(tmp_path):
    config = small_config("qwen3_moe")
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    write_folder(tmp_path / "in", config | {"rope_scaling": yarn}, made_weights(config, "policy", "float32"))
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["rope_theta"] == 5e5
    assert written["rope_scaling"] == yarn
    assert written["rope_parameters"] == yarn | {"rope_theta": 5e5}
    assert written["num_experts"] == written["num_local_experts"] == 4


def test_a_tied_head_that_is_written_too_must_be_the_embedding(tmp_path):
    config = small_config("llama", tie_word_embeddings=True)
    weights = made_weights(config, "policy", "float32")
    head = weights["model.embed_tokens.weight"]
    write_folder(tmp_path / "in", config, weights | {"lm_head.weight": head})
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    same_bits(read(tmp_path / "out"), weights)
    write_folder(tmp_path / "in", config, weights | {"lm_head.weight": head + 1})
    with pytest.raises(ModelError, match=r"ties lm_head.weight to model.embed_tokens.weight, but they differ"):
        import_folder(tmp_path / "in", tmp_path / "other", max_shard_size=GB)


def test_a_second_import_of_the_same_files_does_nothing(tmp_path):
    config = small_config("llama")
    write_folder(tmp_path / "in", config, made_weights(config, "policy", "float32"))
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    before = (tmp_path / "out" / "model.safetensors").stat().st_ino
    import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=GB)
    assert (tmp_path / "out" / "model.safetensors").stat().st_ino == before
    with pytest.raises(ToolrmError, match="was made with"):
        import_folder(tmp_path / "in", tmp_path / "out", dtype="bfloat16", max_shard_size=GB)


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "merges.txt", "README.md", "config.json"])
def test_a_changed_file_beside_the_weights_is_seen(name, tmp_path):
    config = small_config("llama")
    source = write_folder(tmp_path / "in", config, made_weights(config, "policy", "float32"))
    import_folder(source, tmp_path / "out", max_shard_size=GB)
    before = (source / name).read_text() if (source / name).is_file() else ""
    (source / name).write_text(before + "\n")
    with pytest.raises(ToolrmError, match="was made with inputs"):
        import_folder(source, tmp_path / "out", max_shard_size=GB)
    import_folder(source, tmp_path / "out", max_shard_size=GB, overwrite=True)
    if name != "config.json":
        assert (tmp_path / "out" / name).read_text() == before + "\n"


def test_what_cannot_be_brought_in_whole_leaves_nothing(tmp_path):
    config = small_config("qwen2")
    weights = made_weights(config, "policy", "float32")
    key = "model.layers.1.self_attn.k_proj.bias"
    rest = {name: value for name, value in weights.items() if name != key}
    nan = weights | {key: np.full_like(weights[key], np.nan)}
    headless = {name: value for name, value in weights.items() if name != "lm_head.weight"}
    score = {"score.weight": np.zeros((1, 8), np.float32), "score.bias": np.zeros(1, np.float32)}
    cases = [
        (rest, f"tensor {key} is missing"),
        (weights | {key: weights[key][:3]}, rf"tensor {key} has shape \(3,\), expected \(4,\)"),
        (nan, f"tensor {key} holds values that are not finite"),
        (weights | {"model.extra": weights[key]}, "tensor model.extra is not one of this architecture"),
        (headless | score, "tensor score.bias is not one of this"),
        (
            {name: value for name, value in weights.items() if name != "lm_head.weight"},
            "tensor lm_head.weight is missing",
        ),
    ]
    for tensors, says in cases:
        write_folder(tmp_path / "in", config, tensors)
        with pytest.raises(ModelError, match=says) as problem:
            import_folder(tmp_path / "in", tmp_path / "out", max_shard_size=300)
        assert "\n" not in str(problem.value)
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
