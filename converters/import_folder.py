"""A Hugging Face folder of any supported kind as one in the published form: checked, whole, experts one by one."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolrm_jax.converters.engine_config import both_generations
from toolrm_jax.converters.expected import LM_HEAD, SCORE, Task, check_shapes, expected_shapes
from toolrm_jax.converters.safetensors_file import INDEX, PendingTensor, check_dtype, write_shards
from toolrm_jax.converters.safetensors_header import Stored, stored_tensors
from toolrm_jax.errors import ModelError
from toolrm_jax.files import file_hash, is_done, new_folder, plain, write_file
from toolrm_jax.models.config import TrunkConfig, read_config

COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "README.md", "LICENSE*", "NOTICE*")
"""What stands beside weights and config: tokenizer, chat template, card, licence; copied byte by byte."""


def import_folder(
    source: Path, output: Path, *, dtype: str | None = None, max_shard_size: int, overwrite: bool = False
) -> tuple[Path, tuple[str, ...]]:
    """Write the model of `source` to the folder `output`; that folder, and which heads the model has not.

    Every tensor keeps its bits; with `dtype`, or where the files mix dtypes (then float32, the widest), it is cast.
    One tensor is in memory at a time (of fused experts, one layer's). Run again on the same files it does nothing.
    Raises ModelError for a folder that is not whole, of another architecture, or holds a tensor we have no place for.
    """
    raw = read_config(source)
    config = TrunkConfig.from_huggingface(raw, str(source / "config.json"))
    stored = stored_tensors(source)
    task: Task = "reward" if SCORE in stored else "policy"
    expected = expected_shapes(config, task)
    dtypes = {one.dtype for one in stored.values()}
    kept = dtype or (dtypes.pop() if len(dtypes) == 1 else "float32")
    check_dtype(kept)
    files = {name: _stamp(source / name) for name in sorted({one.file for one in stored.values()} | {"config.json"})}
    made_from = plain({"config": {"dtype": kept, "max_shard_size": max_shard_size}, "inputs": files})
    missing = tuple(head for head in (SCORE, LM_HEAD) if head not in expected and not _tied(head, config))
    if is_done(output, **made_from, overwrite=overwrite):
        return output, missing
    _check_place(source, stored, config, task)
    tensors = _tensors(source, config, expected)
    with new_folder(output, overwrite) as folder:
        hashes = write_shards(folder, tensors, kept, max_shard_size)
        for pattern in COPIED:
            for file in source.glob(pattern):
                if file.name not in ("config.json", "card.json", INDEX) and file.is_file():
                    shutil.copyfile(file, folder / file.name)
        written = both_generations(raw) | {"dtype": kept, "torch_dtype": kept}
        write_file(folder / "config.json", json.dumps(written, indent=2) + "\n")
        write_file(folder / "card.json", json.dumps({**made_from, "files": hashes}, indent=1) + "\n")
    return output, missing


def _tied(head: str, config: TrunkConfig) -> bool:
    return head == LM_HEAD and config.tie_word_embeddings


def _stamp(file: Path) -> str:
    """What tells a file from another of its name: of weights size and time, since to hash them is to read them all."""
    if file.suffix != ".safetensors":
        return file_hash(file)
    about = file.stat()
    return f"{about.st_size} bytes, {about.st_mtime_ns}"


def _check_place(source: Path, stored: Mapping[str, Stored], config: TrunkConfig, task: Task) -> None:
    """Raise ModelError for a tensor that is missing, misshapen, or would be lost, and for a tie that is none."""
    known = expected_shapes(config, task)
    fused = _fused(config)
    found = {
        name: stored[name].shape if name in stored else shape
        for name, shape in known.items()
        if name in stored or fused.get(name) in stored
    }
    for name, one in stored.items():
        if name in set(fused.values()) or name.endswith("rotary_emb.inv_freq"):
            continue  # the latter in older files: made anew from the config
        if name == LM_HEAD and config.tie_word_embeddings:
            _check_tie(source, config)
            continue
        found[name] = one.shape
    check_shapes(found, known, str(source))


def _fused(config: TrunkConfig) -> dict[str, str]:
    """The tensor of newer names that holds every expert, by the published name of each part of it."""
    from toolrm_jax.models.declarations import declarations

    return {
        weight.huggingface.format(layer=layer, expert=expert): weight.fused.huggingface.format(layer=layer)
        for weight, layers in declarations(config).values()
        if weight.fused
        for layer in layers
        for expert in range(weight.experts)
    }


def _check_tie(source: Path, config: TrunkConfig) -> None:
    from toolrm_jax.models.declarations import declarations
    from toolrm_jax.models.folder import Tensors

    tensors, (embedding, _) = Tensors(source), declarations(config)["trunk", "embedding"]
    head = dataclasses.replace(embedding, huggingface=LM_HEAD)
    if not np.array_equal(tensors.read(embedding), tensors.read(head)):
        raise ModelError(
            f"{source}: config.json ties {LM_HEAD} to {embedding.huggingface}, but they differ; "
            "set tie_word_embeddings to false"
        )


def _tensors(source: Path, config: TrunkConfig, expected: Mapping[str, tuple[int, ...]]) -> list[PendingTensor]:
    from toolrm_jax.models.declarations import declarations
    from toolrm_jax.models.folder import Tensors

    tensors = Tensors(source)

    @functools.lru_cache(maxsize=1)  # experts come one by one and are read by layers
    def read(path: Any, layer: int) -> np.ndarray:
        return tensors.read(declared[path][0], layer)

    def one(path: Any, layer: int, expert: int) -> np.ndarray:
        weight = declared[path][0]
        return weight.to_huggingface(read(path, layer)[expert] if weight.experts else tensors.read(weight, layer))

    declared = declarations(config)
    return [
        PendingTensor(name, weight.huggingface_shape, functools.partial(one, path, layer, expert))
        for path, (weight, layers) in declared.items()
        for layer in layers or (0,)
        for expert in range(weight.experts or 1)
        if (name := weight.huggingface.format(layer=layer, expert=expert)) in expected
    ]
