"""A GGUF file made from a tiny transformers model gives back that model; damaged and foreign files say so."""

import contextlib
import json
import subprocess
import sys

import numpy as np
import pytest

from toolrm_jax.converters.gguf import import_gguf
from toolrm_jax.converters.licence import Licence, licence_of
from toolrm_jax.errors import ConfigError, ModelError

OTHER = {"license": "other", "license.name": "lab", "license.link": "https://there"}
TOKENS = [*"abcdefgh", "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "[PAD13]", "Ġ", "1"]
TYPES = [1] * 9 + [3, 3, 3, 4, 5, 1, 1]
SIZES = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    "tie_word_embeddings": False,
}
NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def tiny_model(family, **settings):
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(**(SIZES | settings))
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3)
    return model


def interleaved(weight, heads):
    """What llama.cpp's converter does to the q and k weights of Llama."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(
    path, model=None, architecture=None, skip=(), metadata=None, extra=None, quantise=None, licence=None, parts=0
):
    """Write the model as llama.cpp's converter would; `metadata` replaces values (None leaves one out)."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    config = model.config
    architecture = architecture or config.model_type
    writer = GGUFWriter(path, architecture)
    values = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
    } | (metadata or {})
    for name, value in values.items():
        if isinstance(value, int):
            writer.add_uint32(f"{architecture}.{name}", value)
        elif isinstance(value, str):
            writer.add_string(name if name.startswith("tokenizer") else f"{architecture}.{name}", value)
    writer.add_float32(f"{architecture}.rope.freq_base", config.rope_parameters["rope_theta"])
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    if "tokenizer.ggml.model" not in values:
        writer.add_tokenizer_model("gpt2")
    if "tokenizer.ggml.pre" not in values:
        writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types(TYPES)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(10)
    writer.add_eos_token_id(11)
    writer.add_pad_token_id(11)
    writer.add_chat_template("{{ messages }}")
    if parts:
        writer.add_uint16("split.count", parts)
    for field, value in (licence or {}).items():
        writer.add_string(f"general.{field}", value)
    for name, value in model.state_dict().items():
        parts = name.split(".")
        stem = NAMES[parts[-2]]
        stored = f"blk.{parts[2]}.{stem}.{parts[-1]}" if "layers" in parts else f"{stem}.{parts[-1]}"
        array = value.float().numpy()
        if config.model_type == "llama" and stem in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if stem == "attn_q" else config.num_key_value_heads
            array = interleaved(array, heads)
        if stored in skip:
            continue
        if kind := (quantise or {}).get(stored):
            kind = GGMLQuantizationType[kind]
            writer.add_tensor(stored, quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(stored, np.ascontiguousarray(array))
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.arange(12)[None] % len(TOKENS)).logits


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Llama", {}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 16}),
        ("Llama", {"tie_word_embeddings": True}),
    ],
    ids=["llama", "qwen2", "qwen3", "llama-tied"],
)
def test_the_imported_model_is_the_model_that_the_file_was_made_from(family, settings, tmp_path):
    import torch

    model = tiny_model(family, **settings)
    skip = {"output.weight"} if model.config.tie_word_embeddings else ()
    folder = import_gguf(write_gguf(tmp_path / "m.gguf", model, skip=skip), tmp_path / "out", dtype="float32")
    imported = load(folder)
    assert type(imported) is type(model)
    assert imported.config.tie_word_embeddings == model.config.tie_word_embeddings
    assert imported.config.rms_norm_eps == 1e-5
    for name, value in model.state_dict().items():
        assert torch.equal(imported.state_dict()[name], value), name
    assert torch.equal(logits(imported), logits(model))


def test_weights_are_rounded_to_bfloat16_unless_told_otherwise(tmp_path):
    import torch

    model = tiny_model("Qwen2")
    folder = import_gguf(write_gguf(tmp_path / "m.gguf", model), tmp_path / "out")
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    for name, value in load(folder).state_dict().items():
        assert torch.equal(value, model.state_dict()[name].bfloat16().float()), name


def test_of_a_tied_matrix_that_stands_twice_the_finer_copy_is_taken(tmp_path):
    import torch
    from gguf.quants import GGMLQuantizationType, dequantize, quantize

    model = tiny_model("Qwen2")
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    quantise = {"output.weight": "Q8_0", "token_embd.weight": "Q4_0"}
    folder = import_gguf(write_gguf(tmp_path / "m.gguf", model, quantise=quantise), tmp_path / "out", dtype="float32")
    imported = load(folder)
    assert imported.config.tie_word_embeddings
    kind = GGMLQuantizationType.Q8_0
    finer = dequantize(quantize(model.lm_head.weight.detach().numpy(), kind), kind)
    assert np.array_equal(imported.model.embed_tokens.weight.detach().numpy(), finer)


def test_the_tokenizer_comes_from_the_metadata(tmp_path):
    from transformers import AutoTokenizer

    folder = import_gguf(write_gguf(tmp_path / "m.gguf", tiny_model("Llama")), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("abc 11<|im_end|><tool_call>a").input_ids
    assert ids == [8, 2, 14, 15, 15, 11, 12, 0]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (TOKENS[10], TOKENS[11], TOKENS[11])
    assert tokenizer.chat_template == "{{ messages }}"
    assert "[PAD13]" not in tokenizer.get_vocab()
    assert tokenizer.decode(ids, skip_special_tokens=True) == "abc 11<tool_call>a"


def test_a_pad_that_ends_a_turn_is_left_to_the_tokenizer(tmp_path):
    """A classifier of such a config would be scored at the last token before the end of the turn."""
    folder = import_gguf(write_gguf(tmp_path / "m.gguf", tiny_model("Llama")), tmp_path / "out")
    for name in ("config.json", "generation_config.json"):
        given = json.loads((folder / name).read_text())
        assert (given["bos_token_id"], given["eos_token_id"]) == (10, 11)
        assert "pad_token_id" not in given


def test_files_are_no_larger_than_was_asked_for(tmp_path):
    import torch

    model = tiny_model("Qwen2")
    folder = import_gguf(write_gguf(tmp_path / "m.gguf", model), tmp_path / "out", dtype="float32", max_shard_size=9000)
    assert len(list(folder.glob("*.safetensors"))) > 1
    for name, value in load(folder).state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_part_of_a_split_file_says_so(tmp_path):
    file = write_gguf(tmp_path / "m-00001-of-00003.gguf", tiny_model("Llama"), parts=3)
    with pytest.raises(ModelError, match=r"one of the 3 parts of a split file; join them"):
        import_gguf(file, tmp_path / "out")


def test_the_card_names_the_licence_that_the_file_names(tmp_path):
    model = tiny_model("Llama")
    for number, given in enumerate(({}, {"license": "Apache-2.0"}, OTHER)):
        file = write_gguf(tmp_path / f"{number}.gguf", model, licence=given)
        folder = import_gguf(file, tmp_path / str(number))
        found = licence_of(folder)
        assert found == [None, Licence("apache-2.0"), Licence("other", "lab", "https://there")][number]
        assert f"the GGUF file `{number}.gguf`" in (folder / "README.md").read_text()


def test_run_again_it_does_nothing_and_overwrites_only_when_told(tmp_path):
    from toolrm_jax.errors import ToolrmError

    file = write_gguf(tmp_path / "m.gguf", tiny_model("Qwen2"))
    folder = import_gguf(file, tmp_path / "out")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    import_gguf(file, folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ToolrmError, match="overwrite"):
        import_gguf(file, folder, dtype="float32")
    import_gguf(file, folder, dtype="float32", overwrite=True)
    assert (folder / "model.safetensors").stat().st_mtime_ns > before


def test_what_cannot_be_imported_is_told_in_one_line_and_leaves_nothing(tmp_path):
    model = tiny_model("Llama")

    def made(name, **changes):
        return write_gguf(tmp_path / name, model, **changes)

    text, empty, cut = (tmp_path / name for name in ("text.gguf", "empty.gguf", "cut.gguf"))
    text.write_text("hello, I am no model")
    empty.touch()
    whole = made("whole.gguf").read_bytes()
    cases = [
        (tmp_path / "absent.gguf", "no such file"),
        (tmp_path, "no such file"),
        (text, "not a GGUF file"),
        (empty, "not a GGUF file"),
        (made("gemma.gguf", architecture="gemma"), "architecture 'gemma' is not supported; known: llama, qwen2, qwen3"),
        (made("less.gguf", skip={"blk.1.ffn_up.weight"}), r"tensor blk\.1\.ffn_up\.weight is missing"),
        (made("none.gguf", skip={"token_embd.weight"}), "token_embd.weight is missing"),
        (made("more.gguf", extra={"blk.0.moe.weight": np.ones(2, np.float32)}), "blk.0.moe.weight is no part"),
        (made("scaled.gguf", metadata={"rope.scaling.type": "yarn"}), "rotary scaling"),
        (made("spm.gguf", metadata={"tokenizer.ggml.model": "llama"}), "tokenizer kind 'llama'"),
        (made("pre.gguf", metadata={"tokenizer.ggml.pre": "tekken"}), "pre-tokenizer 'tekken'"),
        (made("heads.gguf", metadata={"block_count": None}), "llama.block_count is missing"),
    ]
    for file, says in cases:
        with pytest.raises(ModelError, match=says) as caught:
            import_gguf(file, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)
    for length in (4, 12, 30, 200, 700, len(whole) // 2, len(whole) - 100):
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged or cut short"):
            import_gguf(cut, tmp_path / "out")
    with pytest.raises(ConfigError, match="dtype 'int8'"):
        import_gguf(tmp_path / "whole.gguf", tmp_path / "out", dtype="int8")
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".gguf"]


def test_a_damaged_file_never_ends_in_another_error(tmp_path):
    whole = bytearray(write_gguf(tmp_path / "m.gguf", tiny_model("Qwen2", num_hidden_layers=1)).read_bytes())
    random = np.random.default_rng(0)
    for trial in range(150):
        damaged = whole.copy()
        for place in random.integers(4, 2500, 3):
            damaged[place] = random.integers(256)
        (tmp_path / "d.gguf").write_bytes(damaged)
        with contextlib.suppress(ModelError):
            import_gguf(tmp_path / "d.gguf", tmp_path / f"out{trial}")


def test_importing_needs_neither_torch_nor_transformers_and_prints_nothing(tmp_path):
    file = write_gguf(tmp_path / "m.gguf", tiny_model("Qwen3"))
    script = (
        "import sys; from toolrm_jax.converters.gguf import import_gguf; import_gguf(*sys.argv[1:]);"
        "assert not {'torch', 'transformers', 'jax'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_qwens_vocabulary_is_that_which_was_published(model_file):
    """Qwen2.5's tokenizer from GGUF metadata against Qwen3's own files, which add four tokens."""
    from tokenizers import Tokenizer

    from toolrm_jax.converters.gguf import read_gguf
    from toolrm_jax.converters.gguf_tokenizer import build_tokenizer

    path = model_file("qwen2.5-coder-0.5b.gguf")
    opened, architecture = read_gguf(path)
    ours = build_tokenizer(opened.metadata, architecture, path)
    theirs = Tokenizer.from_file(str(model_file("qwen3-tokenizer") / "tokenizer.json"))
    more = {"<think>", "</think>", "<tool_response>", "</tool_response>"}
    assert {token: id_ for token, id_ in theirs.get_vocab().items() if token not in more} == ours.get_vocab()
    random = np.random.default_rng(0)
    pieces = [
        *"aB9é\u0301日ñ_ \t\n",
        "  ",
        "'s",
        "DON'T",
        "12",
        "\r\n",
        "👍🏽",
        "²",
        "\u00a0",
        '{"',
        "<|im_end|>",
        "<tool_call>",
    ]
    for _ in range(500):
        text = "".join(random.choice(pieces, random.integers(1, 30))) + chr(random.integers(32, 0x2FFF))
        assert ours.encode(text).ids == theirs.encode(text).ids, text


@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france(model_file, tmp_path):
    from transformers import AutoTokenizer

    folder = import_gguf(model_file("smollm2-135m.gguf"), tmp_path / "smollm2")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load(folder)
    ids = model.generate(
        **tokenizer("The capital of France is", return_tensors="pt"), max_new_tokens=2, do_sample=False
    )
    assert tokenizer.decode(ids[0]) == "The capital of France is Paris."
