"""An exported folder on its way to the Hugging Face hub: checked first, then uploaded so that it can be resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from toolrm_jax.converters.expected import SUFFIX, check_shapes, expected_shapes
from toolrm_jax.converters.licence import read_licence
from toolrm_jax.converters.safetensors_header import stored_tensors
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.models.config import TrunkConfig, read_config

_WEIGHTS = re.compile(r"model[^/]*\.safetensors(\.index\.json)?")
"""What `toolrm export` calls files of weights, and their index."""


def check_folder(folder: Path) -> str:
    """The licence of a folder that may be pushed.

    Raises ModelError for one whose weights are not those its config asks for, or whose files are cut short, and
    ConfigError for one whose card names no licence.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder}: holds adapters alone, whose backbone cannot be checked from here; export with merge=true, or "
            "upload them with `hf upload`"
        )
    raw = read_config(folder)
    tasks = {suffix: task for task, suffix in SUFFIX.items()}
    named = (raw.get("architectures") or [""])[0]
    task = next((task for suffix, task in tasks.items() if named.endswith(suffix)), None)
    if task is None:
        raise ModelError(f"{folder}: architecture {named!r} is none that `toolrm export` writes")
    found = {name: one.shape for name, one in stored_tensors(folder).items()}
    config = TrunkConfig.from_huggingface(raw, str(folder / "config.json"))
    check_shapes(found, expected_shapes(config, task), str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json", "toolrm.json"):
        try:
            json.loads((folder / name).read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder}: {name} cannot be read ({error}); export the model again") from None
    return _licence(folder / "README.md")


def _licence(card: Path) -> str:
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{card}: cannot be read ({error}); a model is pushed with its card") from None
    licence = read_licence(text)
    if not licence:
        raise ConfigError(f"{card}: names no licence; write `license: …` between the lines of --- at its top")
    if not licence.is_named:
        raise ConfigError(
            f"{card}: its licence is `other`, which names none; write `license_name: …` and `license_link: …` below it"
        )
    return str(licence)


def listed(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and size in bytes of every file that is uploaded."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield name, file.stat().st_size


def push_folder(folder: Path, repo: str, private: bool) -> str:
    """Upload the folder's files to the repository, made where it is not there; the address of the commit.

    Weights that the hub holds already, from a push that broke off, are not sent again; one commit comes last, so the
    repository has all files or none. It also takes away weights of an earlier push that the folder has not: engines
    would read them before these, or beside them. Other files there stay.
    Raises ConfigError where the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        added = {name: CommitOperationAdd(name, folder / name) for name, _ in listed(folder)}
        old = [name for name in api.list_repo_files(repo) if _WEIGHTS.fullmatch(name) and name not in added]
        operations = [*map(CommitOperationDelete, old), *added.values()]
        # Not `upload_folder`: with hf_xet it may commit a part before the rest is uploaded.
        done = api.create_commit(repo, operations, commit_message="Upload by toolrm push")
    except LocalTokenNotFoundError:
        raise ConfigError(f"{repo}: no token for the hub; run `hf auth login` or set HF_TOKEN") from None
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{repo}: the hub does not take it ({why}); run the same command to go on") from None
    return str(done.commit_url)
