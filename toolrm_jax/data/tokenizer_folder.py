"""Reading a model folder's tokenizer files: `tokenizer.json`, its settings and its chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrm_jax.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, SETTINGS, TEMPLATE = FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def find_folder(path_or_id: str | Path) -> Path:
    """The folder itself, or that of a hub id's tokenizer files, downloaded where they are not cached."""
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder
    if isinstance(path_or_id, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path_or_id):
        raise ModelError(f"{path_or_id}: no such folder; give a model folder or a hub id (owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(path_or_id, allow_patterns=list(FILES)))
    except (HFValidationError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path_or_id}: no such folder, and the hub does not give it ({why})") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer_config.json`; empty where there is none."""
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / SETTINGS}: cannot be read as JSON ({error})") from None
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / SETTINGS}: expected an object, found {type(settings).__name__}")
    return settings


def read_tokenizer(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer, with the added tokens that only its settings name, as transformers adds them."""
    from tokenizers import AddedToken, Tokenizer

    file = folder / TOKENIZER
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(f"{folder}: no {TOKENIZER} here; give a folder with a fast tokenizer") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read ({error})") from None
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{file}: not a tokenizer ({error})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    listed = settings.get("added_tokens_decoder") or {}
    for number, token in sorted(listed.items(), key=lambda item: int(item[0])):
        options = {name: token[name] for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        if tokenizer.token_to_id(token["content"]) is None:
            tokenizer.add_tokens([AddedToken(token["content"], **options)])
        if tokenizer.token_to_id(token["content"]) != int(number):
            raise ModelError(f"{folder}: {TOKENIZER} and {SETTINGS} give {token['content']!r} different ids")
    return tokenizer


def read_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template's Jinja source; of several, the one for tools. None where the model has none."""
    file = folder / TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        return named.get("tool_use") or named.get("default")
    return found


def token_text(token: Any) -> str | None:
    """The text of a token as settings name it: a string, or an object with `content`."""
    return token.get("content") if isinstance(token, dict) else token
