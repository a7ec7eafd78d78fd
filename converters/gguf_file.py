"""The GGUF container: metadata as plain values and tensors mapped from disk, still quantised.

Every length is held against the file's size before it is believed, so a damaged file ends in one line at once.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolrm_jax.errors import ModelError

_STRING, _ARRAY = 8, 9
# GGUF value type -> numpy's, little-endian
_SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_VERSIONS = (2, 3)
_MOST_AXES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in the file. `shape` is in numpy's order; `kind` is the gguf package's quantisation type."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    data: np.ndarray

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return self.data.nbytes

    def values(self, step: int = 1) -> np.ndarray:
        """Every `step`th row of the first axis, dequantised to float32. Raises ModelError for a type that cannot be."""
        from gguf.quants import dequantize

        try:
            return dequantize(np.ascontiguousarray(self.data[::step]), self.kind).astype(np.float32, copy=False)
        except NotImplementedError:
            raise ModelError(f"tensor {self.name}: its type {self.kind.name} cannot be dequantised") from None


@dataclasses.dataclass(frozen=True, slots=True)
class GgufFile:
    """An opened GGUF file."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def open_gguf(path: Path) -> GgufFile:
    """Read the header and map the tensors. Raises ModelError where the file is no GGUF, damaged or cut short."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path}: not a GGUF file; give a GGUF file or a Hugging Face folder")
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give a GGUF file") from None
    try:
        return _read(path, _Cursor(buffer))
    except (ValueError, struct.error) as error:
        why = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: damaged or cut short ({why}); download it again") from None


class _Cursor:
    """A place in the file that only moves forward and never past its end (ValueError)."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self.buffer, self.at, self.size = buffer, 4, len(buffer)

    def take(self, size: int) -> int:
        """Where the next `size` bytes begin."""
        if size > self.size - self.at:
            raise ValueError(f"{size} bytes are promised at {self.at}, the file ends at {self.size}")
        self.at += size
        return self.at - size

    def number(self, form: str) -> int:
        return struct.unpack_from("<" + form, self.buffer, self.take(struct.calcsize("<" + form)))[0]

    def string(self) -> str:
        size = self.number("Q")
        start = self.take(size)
        return self.buffer[start : start + size].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        return self.scalars(kind, 1)[0]

    def array(self) -> list[Any]:
        kind, count = self.number("I"), self.number("Q")
        if kind != _STRING:
            return self.scalars(kind, count)
        if count * 8 > self.size - self.at:
            raise ValueError(f"{count} strings are promised at {self.at}, the file ends at {self.size}")
        return [self.string() for _ in range(count)]

    def scalars(self, kind: int, count: int) -> list[Any]:
        if kind not in _SCALARS:
            raise ValueError(f"value type {kind} at {self.at} is not known")
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self.buffer, dtype, count, self.take(count * dtype.itemsize)).tolist()


def _read(path: Path, cursor: _Cursor) -> GgufFile:
    if (version := cursor.number("I")) not in _VERSIONS:
        raise ValueError(f"version {version}, known are {_VERSIONS}")
    tensors, pairs = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(pairs):  # each takes bytes, so a false count meets the end of the file
        key = cursor.string()
        metadata[key] = cursor.value(cursor.number("I"))
    infos = []
    for _ in range(tensors):
        name, axes = cursor.string(), cursor.number("I")
        if axes > _MOST_AXES:
            raise ValueError(f"tensor {name!r} has {axes} axes")
        shape = tuple(cursor.number("Q") for _ in range(axes))[::-1]
        infos.append((name, shape, cursor.number("I"), cursor.number("Q")))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"alignment {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return GgufFile(path, metadata, {info[0]: _tensor(cursor, start, *info) for info in infos})


def _tensor(cursor: _Cursor, start: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> StoredTensor:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    quantisation = GGMLQuantizationType(kind)
    values, size = GGML_QUANT_SIZES[quantisation]
    if not shape or min(shape) < 1 or shape[-1] % values:
        raise ValueError(f"tensor {name!r} has shape {shape}")
    row = shape[-1] // values * size
    cursor.at = min(start + offset, cursor.size)
    begin = cursor.take(math.prod(shape[:-1]) * row)
    data = np.frombuffer(cursor.buffer, np.uint8, math.prod(shape[:-1]) * row, begin).reshape(*shape[:-1], row)
    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}.get(quantisation)
    return StoredTensor(name, shape, quantisation, data if plain is None else data.view(plain))
