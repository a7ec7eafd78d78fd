"""Downloads from the Hugging Face hub, whose many errors become one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.errors import ToolrmError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_id(name: str) -> bool:
    """Whether this may be a hub id, owner/name."""
    return _ID.fullmatch(name) is not None


def download(name: str, kind: str, files: Sequence[str], error: type[ToolrmError]) -> Path:
    """The folder of a hub repository's files (`kind`: model or dataset), from the cache where it is there.

    Raises `error` where there is no network, or no such repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        return Path(snapshot_download(name, repo_type=kind, allow_patterns=list(files)))
    except (HFValidationError, HTTPError, OSError, RuntimeError) as problem:  # the last is what hf_xet raises
        why = str(problem).strip().partition("\n")[0]
        raise error(f"{name}: no such file or folder, and the hub does not give it ({why})") from None
