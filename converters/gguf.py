"""A GGUF file (llama.cpp's format) as a Hugging Face causal-LM folder, dequantised. Needs no torch.

llama.cpp stores the q and k weights of Llama with each head's two rotary halves interleaved, those of Qwen plainly.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolrm_jax.converters.gguf_file import GgufFile, StoredTensor, open_gguf
from toolrm_jax.converters.gguf_tokenizer import write_tokenizer
from toolrm_jax.converters.licence import Licence, front_matter
from toolrm_jax.converters.safetensors_file import MAX_SHARD_SIZE, PendingTensor, check_dtype, write_shards
from toolrm_jax.errors import ModelError
from toolrm_jax.files import file_hash, is_done, new_folder, write_file

# general.architecture -> stem of the transformers class names
_FAMILIES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}

_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_LAYER_OF_FAMILY = {
    "llama": {},
    "qwen2": {f"attn_{x}.bias": f"self_attn.{x}_proj.bias" for x in "qkv"},
    "qwen3": {f"attn_{x}_norm.weight": f"self_attn.{x}_norm.weight" for x in "qk"},
}
# Two quantised copies of one matrix differ by a few per cent of its norm, unrelated ones by 140.
_SAME_MATRIX = 0.5
_SAMPLED_ROWS = 512


def import_gguf(
    file: str | Path,
    output: str | Path,
    *,
    dtype: str = "bfloat16",
    max_shard_size: int = MAX_SHARD_SIZE,
    overwrite: bool = False,
) -> Path:
    """Write the model, its tokenizer and chat template to the folder `output`, and return it.

    Weights are dequantised and rounded to `dtype`: bfloat16's error (0.4 % at most) is far below that of four-bit
    weights; float32 keeps them exactly. Run again on the same file it does nothing. Raises ModelError for a file
    that is no GGUF, cut short, or of another architecture than Llama, Qwen2 and Qwen3.
    """
    check_dtype(dtype)
    path, output = Path(file), Path(output)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give a GGUF file")
    # What was made before sizes could be given is of the usual one.
    settings = {"dtype": dtype} | ({} if max_shard_size == MAX_SHARD_SIZE else {"max_shard_size": max_shard_size})
    made_from = {"config": settings, "inputs": {path.name: file_hash(path)}}
    if is_done(output, **made_from, overwrite=overwrite):
        return output
    opened, architecture = read_gguf(path)
    tied, embedding = _embedding(opened)
    config = _config(opened, architecture, dtype, tied)
    tensors = _tensors(opened, config, embedding)
    with new_folder(output, overwrite) as folder:
        write_shards(folder, tensors, dtype, max_shard_size)
        write_tokenizer(folder, opened.metadata, architecture, path)
        write_file(folder / "config.json", json.dumps(config, indent=2) + "\n")
        special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config}
        write_file(folder / "generation_config.json", json.dumps(special, indent=2) + "\n")
        write_file(folder / "README.md", _card(opened, dtype))
        write_file(folder / "card.json", json.dumps(made_from, indent=1) + "\n")
    return output


def _card(opened: GgufFile, dtype: str) -> str:
    """README.md: which file this was, and under the licence that the file names, if it names one."""
    given = {field: opened.metadata.get(f"general.{field}") for field in ("license", "license.name", "license.link")}
    identifier, name, link = (value.strip() if isinstance(value, str) else "" for value in given.values())
    front = [front_matter(Licence(identifier.lower(), name, link).fields()), ""] if identifier else []
    title = opened.metadata.get("general.name")
    about = f"Imported from the GGUF file `{opened.path.name}`: its weights were dequantised and rounded to {dtype}."
    return "\n".join([*front, f"# {title if isinstance(title, str) else opened.path.stem}", "", about, ""])


def read_gguf(path: Path) -> tuple[GgufFile, str]:
    """A GGUF file and its architecture. Raises ModelError where we do not know that, or the file is damaged."""
    opened = open_gguf(path)
    architecture = opened.metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in _FAMILIES:
        raise ModelError(f"{path}: architecture {architecture!r} is not supported; known: {', '.join(_FAMILIES)}")
    parts = opened.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"{path}: one of the {parts} parts of a split file; join them (llama-gguf-split --merge) first"
        )
    scaling = opened.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in opened.tensors:
        raise ModelError(f"{path}: rotary scaling is not supported; choose a model without")
    return opened, architecture


def _number(opened: GgufFile, key: str, kind: type[int] | type[float], default: float | None = None) -> Any:
    """A positive number of the metadata. Raises ModelError where it is missing and has no default."""
    value = opened.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < 2**40:
        raise ModelError(f"{opened.path}: metadata {key} is missing or no positive {kind.__name__}")
    return value


def _embedding(opened: GgufFile) -> tuple[bool, dict[str, str]]:
    """Whether embedding and output are tied, and the GGUF tensor to take for each Hugging Face one.

    Some files hold a tied matrix twice, once for each use, quantised more and less finely: the finer is taken.
    """
    embedding, output = opened.tensors.get("token_embd.weight"), opened.tensors.get("output.weight")
    if embedding is None:
        raise ModelError(f"{opened.path}: tensor token_embd.weight is missing; the file is not whole")
    if output is None:
        return True, {"model.embed_tokens.weight": "token_embd.weight"}
    if _same_matrix(embedding, output):
        finer = max((embedding, output), key=lambda tensor: tensor.bytes)
        return True, {"model.embed_tokens.weight": finer.name}
    return False, {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight"}


def _same_matrix(a: StoredTensor, b: StoredTensor) -> bool:
    if a.shape != b.shape:
        return False
    # Rows are quantised apart, so a sample of them, spread evenly, tells.
    step = max(1, a.shape[0] // _SAMPLED_ROWS)
    x, y = a.values(step).astype(np.float64), b.values(step).astype(np.float64)
    return bool(np.linalg.norm(x - y) < _SAME_MATRIX * np.linalg.norm(x))


def _config(opened: GgufFile, architecture: str, dtype: str, tied: bool) -> dict[str, Any]:
    """The `config.json` of the causal LM."""
    metadata = opened.metadata

    def number(key: str, default: float | None = None, kind: type[int] | type[float] = int) -> Any:
        return _number(opened, f"{architecture}.{key}", kind, default)

    hidden, heads = number("embedding_length"), number("attention.head_count")
    theta = number("rope.freq_base", 10000.0, float)
    ids = {
        f"{name}_token_id": metadata[key]
        for name, stored in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        if isinstance(metadata.get(key := f"tokenizer.ggml.{stored}_token_id"), int)
    }
    # llama.cpp needs no padding and writes any token for it. Where it is the one that ends a turn, a classifier made
    # of this folder, as by adapters, would be read at the last token before it.
    if ids.get("pad_token_id") == ids.get("eos_token_id"):
        ids.pop("pad_token_id", None)
    return {
        "architectures": [f"{_FAMILIES[architecture]}ForCausalLM"],
        "model_type": architecture,
        "vocab_size": opened.tensors["token_embd.weight"].shape[0],
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": number("attention.key_length", hidden // heads),
        "hidden_act": "silu",
        # Written as float32, where 1e-5 is 9.9999997e-6: six digits bring back what was meant.
        "rms_norm_eps": float(f"{number('attention.layer_norm_rms_epsilon', None, float):.6g}"),
        "max_position_embeddings": number("context_length"),
        # transformers 5 reads the first, older versions and serving engines the second.
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
        **({} if architecture == "llama" else {"use_sliding_window": False}),
        **ids,
    }


def _tensors(opened: GgufFile, config: Mapping[str, Any], embedding: Mapping[str, str]) -> list[PendingTensor]:
    """Every tensor of the folder. Raises ModelError where the file lacks one or holds one that is not known."""
    architecture, layers = config["model_type"], config["num_hidden_layers"]
    if layers > len(opened.tensors):
        raise ModelError(f"{opened.path}: {layers} layers are promised, {len(opened.tensors)} tensors are there")
    shapes = _shapes(config)
    wanted = {**embedding, "model.norm.weight": "output_norm.weight"}
    for layer in range(layers):
        for stored, name in (_LAYER | _LAYER_OF_FAMILY[architecture]).items():
            wanted[f"model.layers.{layer}.{name}"] = f"blk.{layer}.{stored}"
    known = {*wanted.values(), "token_embd.weight", "output.weight"}
    if missing := sorted(set(wanted.values()) - set(opened.tensors)):
        raise ModelError(f"{opened.path}: tensor {missing[0]} is missing; the file is not whole")
    if unknown := sorted(set(opened.tensors) - known):
        raise ModelError(f"{opened.path}: tensor {unknown[0]} is no part of a plain {architecture} model")
    heads = {"attn_q.weight": config["num_attention_heads"], "attn_k.weight": config["num_key_value_heads"]}
    pending = []
    for name, stored in wanted.items():
        tensor, expected = opened.tensors[stored], shapes[name.split(".", name.count(".") - 1)[-1]]
        if tensor.shape != expected:
            raise ModelError(
                f"{opened.path}: tensor {stored} has shape {tensor.shape}, its metadata ask for {expected}"
            )
        interleaved = heads.get(stored.partition(".")[2].partition(".")[2]) if architecture == "llama" else None
        pending.append(PendingTensor(name, tensor.shape, functools.partial(_values, tensor, interleaved)))
    return pending


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by the last two words of a tensor's Hugging Face name."""
    vocab, hidden, inner, size = (
        config[name] for name in ("vocab_size", "hidden_size", "intermediate_size", "head_dim")
    )
    q, kv = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (vocab, hidden),
        "lm_head.weight": (vocab, hidden),
        "o_proj.weight": (hidden, q),
        "gate_proj.weight": (inner, hidden),
        "up_proj.weight": (inner, hidden),
        "down_proj.weight": (hidden, inner),
    }
    shapes |= {f"{x}_proj.weight": (n, hidden) for x, n in (("q", q), ("k", kv), ("v", kv))}
    shapes |= {f"{x}_proj.bias": (n,) for x, n in (("q", q), ("k", kv), ("v", kv))}
    shapes |= {f"{x}.weight": (hidden,) for x in ("norm", "input_layernorm", "post_attention_layernorm")}
    return shapes | {f"{x}_norm.weight": (size,) for x in "qk"}


def _values(tensor: StoredTensor, interleaved_heads: int | None) -> np.ndarray:
    """The tensor in Hugging Face's layout, float32."""
    values = tensor.values()
    if interleaved_heads is None:
        return values
    rows, columns = values.shape
    halves = values.reshape(interleaved_heads, rows // interleaved_heads // 2, 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)
