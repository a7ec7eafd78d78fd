"""Scores of a served model are kept; this holds that a later start finds the same model behind the address."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, ToolrmError
from toolrm_jax.files import json_hash, write_file

TOLERANCE = 0.05
"""How far a probe's score may move, of max(1, its size): a batch in bfloat16 moves it less, another model more."""


def same_server(
    folder: Path, asked: Sequence[str], told: Callable[[], dict[str, Any]], probe: Callable[[], list[float]]
) -> None:
    """Keep in `folder` what a server says of its model and its scores of a few probes; compare where they are there.

    asked: its address first, and all else that it is asked by. Raises ConfigError where model or scores differ: what
    was kept is another model's. A server that does not answer is let pass where it was known: what was kept can be
    read without it, and anything else asked of it is an error.
    """
    file = folder / f"server_{json_hash(list(asked))[:12]}.json"
    try:
        now = {"asked": list(asked), "model": told(), "probe": probe()}
    except ToolrmError:
        if file.is_file():
            return
        raise
    if not file.is_file():
        write_file(file, json.dumps(now, indent=1) + "\n")
        return
    before = json.loads(file.read_bytes())
    if before["model"] != now["model"]:
        what = f"serves {now['model']}, and what {folder} holds is of {before['model']}"
    elif not _close(before["probe"], now["probe"]):
        what = f"scores otherwise ({now['probe']}) than when {folder} was begun ({before['probe']}): another model"
    else:
        return
    raise ConfigError(f"{asked[0]}: {what}; name another output= for this one")


def _close(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and all(abs(a - b) <= TOLERANCE * max(1.0, abs(a)) for a, b in zip(before, now))
