"""Whole or absent: files and folders are written under a temporary name beside the final one, then renamed.

A stage's folder is complete when its `card.json` is there; that card holds the stage's `config` and `inputs`,
so that the stage, run again, knows whether it has anything to do.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, DataError

CARD = "card.json"


def write_file(path: Path | str, content: bytes | str) -> None:
    """Put `content` at `path`, replacing what was there, in one step. Makes the folder.

    Text is written as UTF-8; a lone surrogate, which UTF-8 cannot hold, as its escape, which in JSON means the same.
    """
    path = Path(path)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free it or name another path") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, which gets the name `path` only if the block ends without an exception.

    With `overwrite`, a complete stage folder of that name is replaced. A folder that is not empty and holds no
    card was not written by a stage and is never touched: ConfigError. What a killed run left is removed.
    """
    path = Path(path)
    refuse_foreign(path, overwrite)
    partial = _partial(path)
    try:
        _remove(partial)
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error.strerror}); name another folder") from error
    try:
        yield partial
        retired = path.with_name(f".{path.name}.retired")
        _remove(retired)
        if is_complete(path):
            os.rename(path, retired)
        os.rename(partial, path)
        _remove(retired)
    finally:
        _remove(partial)


def refuse_foreign(path: Path, overwrite: bool) -> None:
    """Raise ConfigError where `path` may not become a stage's folder (see `new_folder`)."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file; name a folder")
    if is_complete(path):
        if not overwrite:
            raise ConfigError(f"{path}: is there already; say overwrite=true or name another folder")
    elif path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{path}: holds files but no {CARD}, so no stage wrote it; name another folder")


def is_complete(folder: Path | str) -> bool:
    """Whether a stage has finished writing this folder."""
    return (Path(folder) / CARD).is_file()


def is_done(folder: Path | str, config: Mapping[str, Any], inputs: Mapping[str, str], overwrite: bool = False) -> bool:
    """Whether the stage has nothing to do: its folder is complete, from this same config and these inputs.

    `inputs` names what was read and its hash. Where the folder was made from others: False with `overwrite`,
    else ConfigError that shows the first field that differs.
    """
    folder = Path(folder)
    if not is_complete(folder):
        refuse_foreign(folder, overwrite)
        return False
    try:
        card = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / CARD}: cannot be read ({error}); remove the folder and run again") from error
    made_from = {key: card.get(key) if isinstance(card, dict) else None for key in ("config", "inputs")}
    difference = first_difference(made_from, {"config": plain(config), "inputs": plain(inputs)})
    if difference is None:
        return True
    if overwrite:
        return False
    where, there, asked = difference
    raise ConfigError(
        f"{folder}: was made with {where}={there}, now {asked}; say overwrite=true or name another folder"
    )


def first_difference(old: Any, new: Any, where: str = "") -> tuple[str, str, str] | None:
    """The first place where two JSON values differ: its dotted name and both values as (short) JSON."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inside = f"{where}.{key}" if where else key
            if key not in old or key not in new:
                return inside, *(_short(side[key]) if key in side else "absent" for side in (old, new))
            if found := first_difference(old[key], new[key], inside):
                return found
        return None
    same = type(old) is type(new) and old == new
    return None if same else (where, _short(old), _short(new))


def plain(value: Any) -> Any:
    """The value as JSON would give it back: tuples become lists, keys text. TypeError if JSON cannot hold it."""
    return json.loads(json.dumps(value))


def json_hash(value: Any) -> str:
    """sha256 (hex) of a JSON value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_hash(path: Path | str) -> str:
    """sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
