"""Folders that are filled over several runs: what a killed run has finished, the next one does not do again.

Such a folder is `.NAME.work` until all of it is there, and then gets its name by one rename. It remembers what it was
begun from; with other settings or inputs it is not gone on with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolrm_jax import __version__
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import first_difference, is_complete, plain, refuse_foreign, write_file

BEGUN = "begun.json"


def work_folder(final: Path, config: Mapping[str, Any], inputs: Mapping[str, str], overwrite: bool = False) -> Path:
    """The folder to fill, with what an earlier run from the same config and inputs left there.

    Raises ConfigError where `final` may not be replaced, or where the unfinished folder was begun from others;
    `overwrite` begins anew then.
    """
    refuse_foreign(final, overwrite)
    work = final.with_name(f".{final.name}.work")
    begun = {"config": plain(dict(config)), "inputs": plain(dict(inputs)), "version": __version__}
    if (work / BEGUN).is_file():
        difference = first_difference(_read(work / BEGUN), begun)
        if difference is None:
            _remove_partial(work)
            return work
        where, there, now = difference
        if not overwrite:
            raise ConfigError(f"{work}: was begun with {where}={there}, now {now}; say overwrite=true to begin anew")
    if work.exists():
        shutil.rmtree(work)
    write_file(work / BEGUN, json.dumps(begun))
    return work


def finish(work: Path, final: Path) -> None:
    """Give the filled folder its name, in place of a complete one of that name."""
    _remove_partial(work)
    (work / BEGUN).unlink()
    retired = final.with_name(f".{final.name}.retired")
    shutil.rmtree(retired, ignore_errors=True)
    if is_complete(final):
        os.rename(final, retired)
    elif final.is_dir():
        final.rmdir()
    os.rename(work, final)
    shutil.rmtree(retired, ignore_errors=True)


def _remove_partial(work: Path) -> None:
    """Half-written files of killed processes: their names begin with a dot."""
    for path in work.glob(".*"):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove its folder and run again") from None
