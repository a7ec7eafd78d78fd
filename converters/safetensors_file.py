"""Writing safetensors files a few tensors at a time, so that a model need not fit into memory to be written."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import ml_dtypes
import numpy as np

from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.files import write_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
MAX_SHARD_SIZE = 5 * 1000**3
"""Bytes of tensors in one file, where nothing else is asked for."""
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# A 16-bit float with all of these bits set is infinite or not a number.
_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(|[KMGT]i?)B?", re.IGNORECASE)
# Values that are looked through at a time: what the check makes stays in the processor's cache.
_CHUNK = 1 << 17
# Bytes written at a time. A gigabyte in one call was seen to take the system four times as long as in such pieces.
_WRITTEN = 1 << 18
# Tensors made while another is written: to bring them into their published layout costs more than to write them.
_AHEAD = 2


@dataclasses.dataclass(frozen=True, slots=True)
class PendingTensor:
    """A tensor that `make` will give, of any float dtype, when its turn to be written has come."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


def check_dtype(dtype: str) -> None:
    """Raise ConfigError for a dtype that weights cannot be written in."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")


def parse_size(text: str) -> int:
    """Bytes of a size such as 5GB, 500MB or 2GiB. Raises ConfigError."""
    found = _SIZE.fullmatch(text.strip())
    if not found or not (size := int(float(found[1]) * _unit(found[2]))):
        raise ConfigError(f"max_shard_size {text!r} is no size; write one such as 5GB or 500MB")
    return size


def _unit(prefix: str) -> int:
    power = " KMGT".index(prefix[0].upper()) if prefix else 0
    return (1024 if prefix[1:] else 1000) ** power


def tensor_bytes(shape: Sequence[int], dtype: str) -> int:
    """Size of a tensor in the file."""
    return math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize


def write_shards(folder: Path, tensors: Sequence[PendingTensor], dtype: str, max_shard_size: int) -> list[str]:
    """Write `model.safetensors`, or shards and their index where there is more than one; the names of the files.

    max_shard_size: bytes of tensors in one file; a larger tensor has a file to itself. At most three tensors stand in
    memory. Nothing is hashed: that would be most of the work, and the hub hashes what it takes.
    Raises ModelError for a tensor of values that are not finite, DataError where the disk does not take it.
    """
    shards = _shards(tensors, dtype, max_shard_size)
    total = sum(tensor_bytes(tensor.shape, dtype) for tensor in tensors)
    if total > (free := shutil.disk_usage(folder).free):
        raise DataError(f"{folder.parent}: {total:,} bytes are needed, {free:,} are free; free some or name another")
    if len(shards) == 1:
        write_safetensors(folder / WEIGHTS, tensors, dtype)
        return [WEIGHTS]
    placed = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / name, shard, dtype)
        placed |= {tensor.name: name for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
    write_file(folder / INDEX, json.dumps(index, indent=2) + "\n")
    return sorted(set(placed.values()))


def _shards(tensors: Sequence[PendingTensor], dtype: str, max_shard_size: int) -> list[list[PendingTensor]]:
    shards: list[list[PendingTensor]] = [[]]
    size = 0
    for tensor in tensors:
        more = tensor_bytes(tensor.shape, dtype)
        if shards[-1] and size + more > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += more
    return shards


def write_safetensors(path: Path, tensors: Sequence[PendingTensor], dtype: str) -> None:
    """Write the tensors in the given order, cast to `dtype` (rounding to nearest even)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor_bytes(tensor.shape, dtype)
        assert tensor.name not in header, tensor.name
        header[tensor.name] = {"dtype": CODES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    try:
        with open(path, "wb", buffering=0) as file:
            for part in _parts(struct.pack("<Q", len(text)) + text, tensors, dtype):
                _write(file, part)
                del part  # or it would stand in memory until the next one is there
            os.fsync(file.fileno())  # the folder is renamed next: its name must never stand for weights that got lost
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free it or name another path") from error


def _write(file: IO[bytes], part: bytes | memoryview) -> None:
    left = memoryview(part).cast("B")
    while left:
        left = left[file.write(left[:_WRITTEN]) :]


def _parts(header: bytes, tensors: Sequence[PendingTensor], dtype: str) -> Iterator[bytes | memoryview]:
    """The header and every tensor's bytes, those next in turn being made while one is written."""
    yield header
    with ThreadPoolExecutor(_AHEAD) as pool:
        made: deque[Future[bytes | memoryview]] = deque()
        try:
            for tensor in tensors:
                made.append(pool.submit(_bytes, tensor, dtype))
                if len(made) > _AHEAD:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _bytes(tensor: PendingTensor, dtype: str) -> bytes | memoryview:
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
        value = np.ascontiguousarray(tensor.make(), DTYPES[dtype])
    assert value.shape == tensor.shape, (tensor.name, value.shape, tensor.shape)
    _check_finite(tensor.name, value.reshape(-1), dtype)
    return value.view(np.uint8).data if value.ndim else value.tobytes()


def _check_finite(name: str, values: np.ndarray, dtype: str) -> None:
    bits = _EXPONENT.get(dtype)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        if not (np.isfinite(part).all() if bits is None else (part.view(np.uint16) & bits).max() < bits):
            raise ModelError(
                f"tensor {name} holds values that are not finite in {dtype}; choose another dtype or checkpoint"
            )
