"""Writing safetensors files one tensor at a time, so that a model need not fit into memory to be written."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from toolrm_jax.errors import ConfigError

_DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclasses.dataclass(frozen=True, slots=True)
class PendingTensor:
    """A tensor that `make` will give, of any float dtype, when its turn to be written has come."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


def check_dtype(dtype: str) -> None:
    """Raise ConfigError for a dtype that weights cannot be written in."""
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not known; choose one of {', '.join(_DTYPES)}")


def tensor_bytes(shape: Sequence[int], dtype: str) -> int:
    """Size of a tensor in the file."""
    return math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize


def write_safetensors(path: Path, tensors: Sequence[PendingTensor], dtype: str) -> None:
    """Write the tensors in the given order, cast to `dtype` (rounding to nearest even)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor_bytes(tensor.shape, dtype)
        assert tensor.name not in header, tensor.name
        header[tensor.name] = {"dtype": _CODES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            value = np.ascontiguousarray(tensor.make(), _DTYPES[dtype])
            assert value.shape == tensor.shape, (tensor.name, value.shape, tensor.shape)
            file.write(value.view(np.uint8).data if value.ndim else value.tobytes())
