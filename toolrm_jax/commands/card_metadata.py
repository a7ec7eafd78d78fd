"""Hugging Face's `model-index` metadata in the model card of a folder that was evaluated after its export.

It is one line of the card's front matter, replaced when it is written again; nothing else of the card is touched. The
table of results that people read is `toolrm export eval=…`'s.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from toolrm_jax.commands import settings
from toolrm_jax.commands.trained import is_run, run_config
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.evals.results import Suite, model_index
from toolrm_jax.files import json_hash, write_file

CARD = "README.md"
_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_INDEX = re.compile(r"^model-index:.*\n", re.MULTILINE)


def write_index(folder: Path, suite: Suite) -> Path:
    """Put the results' metadata into the card of `folder`; returns its path.

    Raises ModelError for a folder without a card, ConfigError for results of another model, or of none.
    """
    card = folder / CARD
    if not card.is_file() or not (front := _FRONT.match(text := card.read_text(encoding="utf-8"))):
        raise ModelError(f"{card}: no model card with front matter; give a folder that `toolrm export` wrote")
    if not _is_of(folder, suite):
        raise ConfigError(f"{folder}: the results are of {suite.model}, not of this model; judge it, or its run, first")
    index = model_index(suite, folder.resolve().name)
    if not index:
        raise ConfigError(f"{folder}: the results hold no number of this model; judge it on a benchmark first")
    # JSON values are YAML values.
    fields = _INDEX.sub("", front[1]) + f"model-index: {json.dumps(index, ensure_ascii=False)}\n"
    write_file(card, f"---\n{fields}---\n{text[front.end() :]}")
    return card


def _is_of(folder: Path, suite: Suite) -> bool:
    """Whether that folder was judged, or the run that it was exported from."""
    judged = Path(suite.model).expanduser()
    if judged.resolve() == folder.resolve():
        return True
    facts = json.loads((folder / "toolrm.json").read_bytes()) if (folder / "toolrm.json").is_file() else {}
    return is_run(judged) and facts.get("reward", {}).get("training_config_hash") == json_hash(
        settings.as_json(run_config(judged))
    )
