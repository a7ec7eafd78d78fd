"""Rows of Arrow and parquet files as plain Python values, whichever way nested columns were stored."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from toolrm_jax.errors import ConfigError, DataError

SUFFIXES = (".arrow", ".parquet")


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file, or of all data files below a folder in order of name, with its `file:row` (from 1).

    Structs lose their null fields: Arrow gives every row the fields of all rows. Raises DataError where there is
    no such file, where one is damaged or lacks a column of `columns`; ConfigError where pyarrow is not installed.
    """
    files = _files(path)
    if not files:
        raise DataError(f"{path}: no {' or '.join(SUFFIXES)} files there; give the data set's folder or a .jsonl file")
    arrow = _pyarrow("pyarrow")
    for file in files:
        try:
            table = _table(file)
        except (OSError, arrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{file}: cannot be read as Arrow or parquet ({reason}); fetch it again") from None
        if missing := [name for name in columns if name not in table.column_names]:
            found = ", ".join(table.column_names)
            raise DataError(f"{file}: column {missing[0]!r} is missing; it has {found}")
        number = 0
        for batch in table.to_batches():
            for row in zip(*(column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns)):
                number += 1
                yield f"{file}:{number}", {name: _present(value) for name, value in zip(table.column_names, row)}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    found = [file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}")]
    return sorted(file for file in found if not file.name.startswith("cache-"))  # `datasets` keeps its own there


def _table(file: Path) -> Any:
    """The whole file: `save_to_disk` writes Arrow's stream format, others its file format."""
    if file.suffix == ".parquet":
        return _pyarrow("pyarrow.parquet").read_table(file)
    ipc = _pyarrow("pyarrow.ipc")
    arrow = _pyarrow("pyarrow")
    try:
        return ipc.open_file(arrow.memory_map(str(file))).read_all()
    except arrow.ArrowInvalid:
        return ipc.open_stream(arrow.memory_map(str(file))).read_all()


def _pyarrow(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError("reading Arrow files needs pyarrow; run `pip install 'toolrm_jax[hf]'`") from None


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value
