"""Upload an exported folder to the Hugging Face hub, with a token from `hf auth login` or HF_TOKEN.

The folder is checked first: its weights must be whole and those its config asks for, its card must name a licence.
A push that broke off goes on with the same command. `--dry-run` (or dry_run=true) lists the files and sends nothing.
"""

from __future__ import annotations

from pathlib import Path

import chz

from toolrm_jax.commands.hub import is_id
from toolrm_jax.errors import ConfigError, ModelError

BASE = None


@chz.chz
class Config:
    """What is pushed where."""

    path: str  # an exported folder
    repo: str  # owner/name
    private: bool = True  # who may see a repository that is made now; one that is there stays as it is
    dry_run: bool = False  # list files and sizes alone


def run(config: Config, overwrite: bool = False) -> int:
    """Check, list, push."""
    from toolrm_jax.converters.hub_folder import check_folder, listed, push_folder

    folder = Path(config.path)
    if not is_id(config.repo):
        raise ConfigError(f"repo={config.repo}: no name of a repository; give owner/name")
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; write one with `toolrm export`")
    licence = check_folder(folder)
    files = list(listed(folder))
    for name, size in files:
        print(f"{size:>15,}  {name}")
    visible = "private" if config.private else "public"
    print(f"{sum(size for _, size in files):>15,}  bytes in {len(files)} files, licence {licence}")
    if config.dry_run:
        print(f"dry run: nothing was sent to {config.repo} ({visible})")
        return 0
    print(f"pushed: {push_folder(folder, config.repo, config.private)}")
    return 0
