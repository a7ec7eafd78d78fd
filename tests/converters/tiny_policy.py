"""A small random policy with a ChatML tokenizer of its own, written by our exporter. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path

from tests.converters.made_folder import small_config


def tiny_chat(folder: Path):
    """A byte-level tokenizer of a few hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from toolrm_jax.data.chat import Chat
    from toolrm_jax.data.template import chatml_tools

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [chatml_tools()] * 3, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Chat.load(folder)


def tiny_policy(folder: Path, kind: str = "qwen3", dtype: str = "float32", **changes) -> Path:
    """The exported folder `folder`/policy. Its logits spread: embedding and head are not tied."""
    from flax import nnx

    from toolrm_jax.converters.huggingface import export_folder, model_tensors
    from toolrm_jax.models.config import TrunkConfig
    from toolrm_jax.models.heads import RewardModel

    chat = tiny_chat(folder / "tokenizer")
    sizes = {"hidden_size": 64, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"num_hidden_layers": 3, "head_dim": 128, "max_position_embeddings": 1024}
    config = small_config(kind, vocab_size=chat.vocab_size, **(sizes | changes))
    model = RewardModel(TrunkConfig.from_huggingface(config), rngs=nnx.Rngs(0))
    return export_folder(
        folder / "policy",
        config=config,
        tensors=model_tensors(model, "policy"),
        chat=chat,
        facts=dict.fromkeys(("training_config_hash", "data_card_hash"), "0" * 64),
        card="# card\n",
        task="policy",
        dtype=dtype,
    )
