"""A Hugging Face folder of any supported kind as one in the published form: checked, whole, experts one by one."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from toolrm_jax.converters.engine_config import both_generations
from toolrm_jax.converters.expected import EMBEDDING, LM_HEAD, SCORE, Task, check_shapes, expected_shapes
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
    The files are read through the system's cache, so hardly any memory is this process's own.
    Run again on the same files it does nothing. Raises ModelError for a folder that is not whole, of another
    architecture, or holds a tensor we have no place for.
    """
    raw = read_config(source)
    config = TrunkConfig.from_huggingface(raw, str(source / "config.json"))
    stored = stored_tensors(source)
    task: Task = "reward" if SCORE in stored else "policy"
    places = _places(config, task, stored)
    dtypes = {one.dtype for one in stored.values()}
    kept = dtype or (dtypes.pop() if len(dtypes) == 1 else "float32")
    check_dtype(kept)
    copied = _copied(source)
    read = {one.file for one in stored.values()} | {"config.json"} | {file.name for file in copied}
    files = {name: _stamp(source / name) for name in sorted(read)}
    made_from = plain({"config": {"dtype": kept, "max_shard_size": max_shard_size}, "inputs": files})
    missing = tuple(head for head in (SCORE, LM_HEAD) if head not in places and not _tied(head, config))
    if is_done(output, **made_from, overwrite=overwrite):
        return output, missing
    _check(source, stored, places, config)
    tensors = _tensors(source, stored, places)
    with new_folder(output, overwrite) as folder:
        write_shards(folder, tensors, kept, max_shard_size)
        for file in copied:
            write_file(folder / file.name, file.read_bytes())
        written = both_generations(raw) | {"dtype": kept, "torch_dtype": kept}
        write_file(folder / "config.json", json.dumps(written, indent=2) + "\n")
        write_file(folder / "card.json", json.dumps(made_from, indent=1) + "\n")
    return output, missing


def _copied(source: Path) -> list[Path]:
    """The files that come along as they are."""
    found = {file for pattern in COPIED for file in source.glob(pattern) if file.is_file()}
    return sorted(file for file in found if file.name not in ("config.json", "card.json", INDEX))


def _tied(head: str, config: TrunkConfig) -> bool:
    return head == LM_HEAD and config.tie_word_embeddings


def _stamp(file: Path) -> str:
    """What tells a file from another of its name: of weights size and time, since to hash them is to read them all."""
    if file.suffix != ".safetensors":
        return file_hash(file)
    about = file.stat()
    return f"{about.st_size} bytes, {about.st_mtime_ns}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a published tensor of that shape is read: `part` of the tensor `stored`, which has the shape `whole`."""

    shape: tuple[int, ...]
    stored: str
    whole: tuple[int, ...]
    part: tuple[int | slice, ...] = ()


def _places(config: TrunkConfig, task: Task, stored: Mapping[str, Stored]) -> dict[str, _Place]:
    """Of each tensor to be written: itself, or its part of one that by newer names holds every expert."""
    from toolrm_jax.models.declarations import declarations

    expected, found = expected_shapes(config, task), {}
    for weight, layers in declarations(config).values():
        for layer in layers or (0,):
            for expert in range(weight.experts or 1):
                name = weight.huggingface.format(layer=layer, expert=expert)
                if name not in expected:
                    continue
                shape = expected[name]
                found[name] = _Place(shape, name, shape)
                if (fused := weight.fused) and name not in stored:
                    whole, (rows, columns) = fused.huggingface.format(layer=layer), shape
                    if whole in stored:
                        part = (expert, slice(fused.part * rows, (fused.part + 1) * rows))
                        found[name] = _Place(shape, whole, (weight.experts, rows * fused.parts, columns), part)
    return found


def _check(source: Path, stored: Mapping[str, Stored], places: Mapping[str, _Place], config: TrunkConfig) -> None:
    """Raise ModelError for a tensor that is missing, misshapen, or would be lost, and for a tie that is none."""
    found = {name: one.shape for name, one in stored.items() if not name.endswith("rotary_emb.inv_freq")}
    if _tied(LM_HEAD, config) and LM_HEAD in found:
        _check_tie(source, stored)
        del found[LM_HEAD]
    check_shapes(found, {place.stored: place.whole for place in places.values()}, str(source))


def _check_tie(source: Path, stored: Mapping[str, Stored]) -> None:
    head, embedding = stored[LM_HEAD], stored.get(EMBEDDING)
    if embedding and not np.array_equal(embedding.open(source), head.open(source)):
        raise ModelError(
            f"{source}: config.json ties {LM_HEAD} to {EMBEDDING}, but they differ; set tie_word_embeddings to false"
        )


def _tensors(source: Path, stored: Mapping[str, Stored], places: Mapping[str, _Place]) -> list[PendingTensor]:
    def read(place: _Place) -> np.ndarray:
        return stored[place.stored].open(source)[place.part]

    return [PendingTensor(name, place.shape, functools.partial(read, place)) for name, place in places.items()]
