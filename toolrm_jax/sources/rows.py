"""Rows of a source's files: JSON, JSON lines, Arrow and parquet, with the place of each for messages."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.sources.drops import NOT_READABLE, Drops

ARROW = (".arrow", ".parquet")
SUFFIXES = (".json", ".jsonl", *ARROW)


def files(path: Path | None, source: str, pattern: str = "*") -> list[Path]:
    """The data files at `path`, below it in order of name. Raises DataError where there are none."""
    if path is None:
        raise DataError(f"source {source!r} has no usual place; give path=FOLDER or hf://datasets/owner/name")
    if path.is_file():
        return [path]
    found = sorted(item for item in path.rglob(pattern) if item.suffix in SUFFIXES and item.is_file())
    found = [item for item in found if not item.name.startswith((".", "cache-", "dataset_info", "state."))]
    if not found:
        raise DataError(f"{path}: no files of source {source!r} there ({pattern}, {', '.join(SUFFIXES)})")
    return found


def rows(path: Path, drops: Drops, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:row`, row) for each row of a file, counted from 1; a JSON object of rows has its keys for numbers.

    A row that is no object with all of `columns`, or a line that is not JSON, is a counted drop; a file that cannot
    be read at all, or an Arrow file without one of the columns, is a DataError.
    """
    if path.suffix in ARROW:
        yield from arrow_rows(path, columns)
        return
    for where, row in _json_rows(path, drops):
        if not isinstance(row, dict):
            drops.add(NOT_READABLE, f"{where}: expected an object, found {type(row).__name__}")
        elif missing := [name for name in columns if name not in row]:
            drops.add(NOT_READABLE, f"{where}: field {missing[0]!r} is missing")
        else:
            yield where, row


def load(path: Path) -> Any:
    """The value of a JSON file. Raises DataError where it cannot be read or is cut short."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); fetch it again") from None


def read_json(text: Any) -> Any:
    """JSON that is published inside a string; what is no string is taken as it is. Raises ValueError."""
    return json.loads(text) if isinstance(text, str) else text


def _json_rows(path: Path, drops: Drops) -> Iterator[tuple[str, Any]]:
    if _is_lines(path):
        yield from _lines(path, drops)
        return
    value = load(path)
    if isinstance(value, dict):
        yield from ((f"{path}:{key}", row) for key, row in value.items())
    elif isinstance(value, list):
        yield from ((f"{path}:{number}", row) for number, row in enumerate(value, 1))
    else:
        raise DataError(f"{path}: expected a list of rows, found {type(value).__name__}; fetch it again")


def _is_lines(path: Path) -> bool:
    """Whether a file holds an object or list a line, whatever its suffix: its first line is whole."""
    if path.suffix == ".jsonl":
        return True
    try:
        with open(path, "rb") as file:
            first = next((line for line in file if line.strip()), b"")
            more = any(line.strip() for line in file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); fetch it again") from None
    if not first.lstrip().startswith(b"{"):
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return more or not all(isinstance(item, dict) for item in value.values())


def _lines(path: Path, drops: Drops) -> Iterator[tuple[str, Any]]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError too
                    drops.add(NOT_READABLE, f"{where}: not JSON ({' '.join(str(error).split())[:120]})")
                    continue
                yield where, row
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); fetch it again") from None


def arrow_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:row`, row) of an Arrow or parquet file, batch by batch, so that memory stays bounded.

    Structs lose their null fields, which all rows share in Arrow. Raises DataError where the file is damaged or lacks
    one of `columns`, ConfigError where pyarrow is not installed.
    """
    arrow = _pyarrow("pyarrow")
    number = 0
    try:
        for batch in _batches(path, arrow):
            names = batch.schema.names
            if missing := [name for name in columns if name not in names]:
                raise DataError(f"{path}: column {missing[0]!r} is missing; it has {', '.join(names)}")
            for row in zip(*(column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns)):
                number += 1
                yield f"{path}:{number}", {name: _present(value) for name, value in zip(names, row)}
    except (OSError, arrow.ArrowException) as error:
        raise DataError(
            f"{path}: cannot be read as Arrow or parquet ({str(error).splitlines()[0]}); fetch it again"
        ) from None


def _batches(path: Path, arrow: Any) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with _pyarrow("pyarrow.parquet").ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1024)
        return
    ipc = _pyarrow("pyarrow.ipc")
    with arrow.memory_map(str(path)) as memory:
        try:
            reader = ipc.open_file(memory)
        except arrow.ArrowInvalid:  # `datasets` writes the stream format
            memory.seek(0)
            yield from ipc.open_stream(memory)
            return
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError("reading Arrow files needs pyarrow; run `pip install 'toolrm_jax[hf]'`") from None


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value
