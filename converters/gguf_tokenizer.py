"""The tokenizer of a GGUF file (byte-level BPE) as the files that transformers reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrm_jax.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# llama.cpp's token types.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

# tokenizer.ggml.pre -> (pattern to split by, None: GPT-2's; digits one by one; NFC; whole words before merges)
_PRE_TOKENIZERS = {
    "smollm": (None, True, False, False),
    "gpt-2": (None, False, False, False),
    "qwen2": (_QWEN2, False, True, False),
    "llama-bpe": (_LLAMA3, False, False, True),
}
# Older files name no pre-tokenizer ("default"); then the architecture has to tell.
_DEFAULTS = {"llama": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}


def build_tokenizer(metadata: Mapping[str, Any], architecture: str, where: Path) -> Tokenizer:
    """The tokenizer that the metadata describe. Raises ModelError for a kind that is not known."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if (kind := metadata.get("tokenizer.ggml.model")) != "gpt2":
        raise ModelError(f"{where}: tokenizer kind {kind!r} is not supported, only byte-level BPE ('gpt2') is")
    pre = str(metadata.get("tokenizer.ggml.pre", "default"))
    pre = _DEFAULTS[architecture] if pre == "default" else pre
    if pre not in _PRE_TOKENIZERS:
        raise ModelError(f"{where}: pre-tokenizer {pre!r} is not supported; known: {', '.join(_PRE_TOKENIZERS)}")
    pattern, digits, nfc, ignore_merges = _PRE_TOKENIZERS[pre]

    tokens, types = _tokens(metadata, where)
    vocab = {text: number for number, (text, type_) in enumerate(zip(tokens, types)) if type_ != _UNUSED}
    # A merge is stored as "left right"; neither half holds a space, since byte-level BPE writes it as another letter.
    merges = [tuple(str(merge).split(" ", 1)) for merge in metadata.get("tokenizer.ggml.merges") or ()]
    if any(len(merge) != 2 or not vocab.keys() >= {*merge, "".join(merge)} for merge in merges):
        raise ModelError(
            f"{where}: a merge of its tokenizer names a token that the vocabulary lacks; the file is damaged"
        )
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    for number, (text, type_) in enumerate(zip(tokens, types)):
        if type_ in (_UNKNOWN, _CONTROL, _USER_DEFINED):
            added = [AddedToken(text, normalized=False, special=type_ != _USER_DEFINED)]
            tokenizer.add_special_tokens(added) if type_ != _USER_DEFINED else tokenizer.add_tokens(added)
            assert tokenizer.token_to_id(text) == number, text
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    first = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    first += [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, byte_level]) if first else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    bos = special_tokens(metadata).get("bos_token")
    if metadata.get("tokenizer.ggml.add_bos_token") and bos:
        start = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocab[bos])]
        )
        tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, start])
    return tokenizer


def special_tokens(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The texts of `bos_token`, `eos_token`, `pad_token` and `unk_token`, those that the file names."""
    tokens = metadata["tokenizer.ggml.tokens"]
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    return {
        f"{name}_token": tokens[id_] for name, id_ in ids.items() if isinstance(id_, int) and 0 <= id_ < len(tokens)
    }


def write_tokenizer(folder: Path, metadata: Mapping[str, Any], architecture: str, where: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and, where the file has one, `chat_template.jinja`."""
    build_tokenizer(metadata, architecture, where).save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special_tokens(metadata),
        "model_max_length": metadata[f"{architecture}.context_length"],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _tokens(metadata: Mapping[str, Any], where: Path) -> tuple[list[str], list[int]]:
    tokens, types = (metadata.get(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    if not tokens or not isinstance(tokens, list) or not isinstance(types, list) or len(tokens) != len(types):
        raise ModelError(f"{where}: holds no whole vocabulary, so no tokenizer can be made; choose another GGUF file")
    if not all(isinstance(token, str) for token in tokens) or len(set(tokens)) != len(tokens):
        raise ModelError(f"{where}: its vocabulary names a token twice or not as text; the file is damaged")
    return tokens, types
