"""Weights are written a few tensors at a time, whole and finite; what was written says when it is not whole."""

from __future__ import annotations

import json
import os
import resource
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from toolrm_jax.converters import safetensors_file
from toolrm_jax.converters.safetensors_file import DTYPES, PendingTensor, parse_size, write_shards
from toolrm_jax.converters.safetensors_header import Stored, stored_tensors
from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.files import new_folder


def pending(**values):
    return [PendingTensor(name, value.shape, lambda value=value: value) for name, value in values.items()]


def read(folder):
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 200))
def test_whatever_the_shards_every_tensor_comes_back_and_none_is_cut(tmp_path_factory, dtype, sizes, shard):
    folder = tmp_path_factory.mktemp("out")
    values = {f"t{i}": np.arange(size, dtype=np.float32) / 7 for i, size in enumerate(sizes)}
    names = write_shards(folder, pending(**values), dtype, shard)
    found = read(folder)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value.astype(DTYPES[dtype]))
    assert names == sorted(file.name for file in folder.glob("*.safetensors"))
    width = np.dtype(DTYPES[dtype]).itemsize
    stored = stored_tensors(folder)
    for file in names:
        held = [size for i, size in enumerate(sizes) if stored[f"t{i}"].file == file]
        assert sum(held) * width <= shard or len(held) == 1
    assert {(one.dtype, one.shape) for one in stored.values()} == {(dtype, (size,)) for size in sizes}


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("500MB", 5 * 10**8), ("2GiB", 2**31), ("1.5kb", 1500), ("40", 40)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "5XB", "-1GB", "0", "0.1B"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_a_value_that_is_not_finite_is_named(bad, dtype, tmp_path):
    value = np.ones(5_000_000 if dtype == "float16" else 10, np.float32)
    value[-1] = bad
    with pytest.raises(ModelError, match=f"tensor b holds values that are not finite in {dtype}"):
        write_shards(tmp_path, pending(a=np.ones(3, np.float32), b=value), dtype, 10**9)


def test_what_overflows_float16_is_refused_and_bfloat16_holds_it(tmp_path):
    large = pending(a=np.array([1e5], np.float32))
    with pytest.raises(ModelError, match="not finite in float16"):
        write_shards(tmp_path, large, "float16", 10**9)
    write_shards(tmp_path, large, "bfloat16", 10**9)
    assert read(tmp_path)["a"] == ml_dtypes.bfloat16(1e5)


def test_a_disk_that_fills_half_way_leaves_nothing_and_says_so(tmp_path):
    """Stood in for by the system's limit on a file's size, which a write meets just so: half of it is taken."""
    tensors = pending(a=np.ones(60, np.float32), b=np.ones(60, np.float32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(DataError, match="File too large"), new_folder(tmp_path / "out") as folder:
            write_shards(folder, tensors, "float32", 10**9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_every_shard_is_on_the_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    synced = {}

    def fsync(handle):
        file = os.readlink(f"/proc/self/fd/{handle}")
        synced[os.path.basename(file)] = os.fstat(handle).st_size

    monkeypatch.setattr(os, "fsync", fsync)
    names = write_shards(tmp_path, pending(a=np.ones(60, np.float32), b=np.ones(60, np.float32)), "float32", 300)
    assert len(names) == 2
    for name in names:
        assert synced[name] == (tmp_path / name).stat().st_size


def test_a_disk_too_small_is_refused_before_the_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(DataError, match="240 bytes are needed, 100 are free"):
        write_shards(tmp_path, pending(a=np.ones(60, np.float32)), "float32", 10**9)
    assert list(tmp_path.iterdir()) == []


def test_at_most_three_tensors_are_in_memory(tmp_path):
    size = 1 << 20
    made = [PendingTensor(f"t{i}", (size,), lambda: np.ones(size, np.float32)) for i in range(12)]
    tracemalloc.start()
    write_shards(tmp_path, made, "bfloat16", 8 * size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 4 * size < peak < 15 * size, "one as it is written, two as they are made and cast, and the check's scratch"


def test_a_folder_that_is_not_whole_says_what_is_wrong(tmp_path):
    def refused(says):
        with pytest.raises(ModelError, match=says) as problem:
            stored_tensors(tmp_path)
        assert "\n" not in str(problem.value)

    refused("no model.safetensors here")
    file = tmp_path / "model.safetensors"
    save_file({"a": np.ones((3, 4), np.float32), "b": np.ones(2, np.float16)}, file)
    whole = file.read_bytes()
    data = 8 + int.from_bytes(whole[:8], "little")
    assert stored_tensors(tmp_path) == {
        "a": Stored("model.safetensors", "float32", (3, 4), data),
        "b": Stored("model.safetensors", "float16", (2,), data + 48),
    }
    file.write_bytes(whole[:-1])
    refused("cut short .51 bytes of tensors, its header says 52")
    file.write_bytes(whole[:20])
    refused("its header ends beyond it")
    file.write_bytes(b"")
    refused("damaged or cut short")
    save_file({"a": np.ones(3, np.int8)}, file)
    refused("tensor a is of dtype I8; only float32, float16, bfloat16 weights are read")
    file.write_bytes(whole)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}))
    refused("the index names gone.safetensors, which is missing")
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    refused("holds b, of which the index does not know")
    index.write_text(json.dumps({"weight_map": dict.fromkeys("abc", "model.safetensors")}))
    refused("the index says that c is in model.safetensors, which lacks it")
    index.write_text("[]")
    refused("no index of tensors")
