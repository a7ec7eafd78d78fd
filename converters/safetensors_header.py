"""What the safetensors files of a folder hold, read from their headers alone: no weight is read."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolrm_jax.converters.safetensors_file import CODES, DTYPES, INDEX, WEIGHTS
from toolrm_jax.errors import ModelError

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_NAMES = {code: dtype for dtype, code in CODES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies, its dtype (`float32`, `float16` or `bfloat16`) and its shape; `start`: its first byte."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    def open(self, folder: Path) -> np.ndarray:
        """The tensor as a view of its file: what is read of it is the system's memory, not this process's own."""
        return np.memmap(folder / self.file, DTYPES[self.dtype], "r", self.start, self.shape)


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a model folder by its name. Raises ModelError, naming the file or tensor, where it is not whole.

    A file that is cut short, an index that names a missing file or tensor, and weights that are no floats are faults.
    """
    index = folder / INDEX
    if not index.is_file():
        if not (folder / WEIGHTS).is_file():
            raise ModelError(f"{folder}: no {WEIGHTS} here; only safetensors weights are read")
        return {name: stored for name, stored in _read(folder / WEIGHTS)}
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(placed.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: no index of tensors ({error}); download it again") from None
    found: dict[str, Stored] = {}
    for file in files:
        if not (folder / file).is_file():
            raise ModelError(f"{folder}: the index names {file}, which is missing; download it again")
        for name, stored in _read(folder / file):
            if placed.get(name) != file:
                raise ModelError(f"{folder / file}: holds {name}, of which the index does not know; download it again")
            found[name] = stored
    for name in placed:
        if name not in found:
            raise ModelError(
                f"{folder}: the index says that {name} is in {placed[name]}, which lacks it; download it again"
            )
    return found


def _read(path: Path) -> Iterator[tuple[str, Stored]]:
    damaged = f"{path}: damaged or cut short"
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ModelError(f"{damaged} (its header ends beyond it); download it again")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries = [(name, one["dtype"], tuple(one["shape"]), *one["data_offsets"]) for name, one in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{damaged} ({error}); download it again") from None
    data = size - 8 - length
    if (end := max((stop for *_, stop in entries), default=0)) != data:
        raise ModelError(f"{damaged} ({data} bytes of tensors, its header says {end}); download it again")
    for name, code, shape, start, stop in entries:
        if code not in _NAMES:
            known = ", ".join(_NAMES.values())
            raise ModelError(f"{path}: tensor {name} is of dtype {code}; only {known} weights are read")
        if stop - start != math.prod(shape) * _BYTES[code]:
            raise ModelError(f"{damaged} (tensor {name} has another size than its shape); download it again")
        yield name, Stored(path.name, _NAMES[code], shape, 8 + length + start)
