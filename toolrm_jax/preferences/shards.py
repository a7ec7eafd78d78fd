"""Groups on disk: ArrayRecord shards of compact JSON, with a data card."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import CARD, file_hash, is_done, json_hash, new_folder, write_file
from toolrm_jax.preferences.card import Card, Shard, Tally, card_text, read_card
from toolrm_jax.toolcalls.types import Group, Task

# One record a chunk, so that any group is read alone; the writer is single-threaded, so its bytes depend on the
# records alone.
WRITER_OPTIONS = "group_size:1,zstd,max_parallelism:1"


def encode_group(group: Group) -> bytes:
    """One record: compact JSON in ASCII (lone surrogates in a model's text survive), keys in the order they came."""
    return json.dumps(group.to_json(), separators=(",", ":")).encode("ascii")


def decode_group(record: bytes) -> Group:
    """The inverse of `encode_group`. Raises DataError."""
    try:
        return Group.from_json(json.loads(record))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"not a group: {error}") from error


def fingerprint(tasks: Iterable[Task]) -> str:
    """sha256 (hex) of a set of tasks, whatever their order: what a card's `inputs` says of them."""
    return json_hash([task.to_json() for task in sorted(tasks, key=lambda task: task.id)])


def write_groups(
    folder: Path | str,
    groups: Iterable[Group],
    card: Card,
    shard_size: int = 1024,
    overwrite: bool = False,
) -> Card:
    """Write a folder of shards with at most `shard_size` groups each, and its card, whole or not at all.

    Returns the card with counts and shards filled in. Does nothing, and draws no group, if the folder is there
    already from the same config and inputs; ConfigError if it is from others and `overwrite` is not said.
    The same groups give the same bytes. DataError if there is no group.
    """
    if shard_size < 1:
        raise ConfigError(f"shard_size={shard_size}: give at least 1")
    if is_done(folder, card.config, card.inputs, overwrite):
        return check_shards(folder)
    tally = Tally()
    shards: list[Shard] = []
    with new_folder(folder, overwrite) as partial:
        batch: list[bytes] = []
        for group in groups:
            tally.add(group)
            batch.append(encode_group(group))
            if len(batch) == shard_size:
                shards.append(_write_shard(partial / _name(len(shards)), batch))
                batch = []
        if batch:
            shards.append(_write_shard(partial / _name(len(shards)), batch))
        if not shards:
            raise DataError(f"{folder}: no group to write; dropped: {_reasons(card)}")
        whole = dataclasses.replace(card, counts=tally.tables(), shards=tuple(shards))
        write_file(partial / CARD, card_text(whole))
    return whole


class Groups(Sequence[Group]):
    """The groups of a folder by index, read and parsed as they are asked for. Can be sent to worker processes."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.card = read_card(folder)
        for shard in self.card.shards:
            _check_size(self.folder, shard)
        self._records = ArrayRecordDataSource([str(self.folder / shard.name) for shard in self.card.shards])
        if len(self._records) != self.card.groups:
            raise DataError(
                f"{folder}: the shards hold {len(self._records)} groups, the card says {self.card.groups}; "
                "write the data again"
            )

    def __len__(self) -> int:
        return self.card.groups

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | list[Group]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"group {index} of {len(self)}")
        try:
            return decode_group(self._records[index % len(self)])
        except (RuntimeError, ValueError, DataError) as error:
            raise DataError(f"{self.folder}: group {index} is damaged ({error}); write the data again") from error


def read_groups(folder: Path | str) -> Groups:
    """The groups of a complete folder. DataError where it is missing, incomplete, or not what its card says.

    Opening compares the shards' sizes and record counts with the card; contents are checked by ArrayRecord's own
    checksums as they are read, or all at once by `check_shards`.
    """
    return Groups(folder)


def check_shards(folder: Path | str) -> Card:
    """Compare every shard with its sha256 in the card, and return the card. Raises DataError."""
    card = read_card(folder)
    for shard in card.shards:
        _check_size(Path(folder), shard)
        if file_hash(Path(folder) / shard.name) != shard.sha256:
            raise DataError(f"{Path(folder) / shard.name}: does not match the sha256 in its card; write the data again")
    return card


def put_shard(folder: Path, name: str, records: Sequence[bytes]) -> Shard:
    """Write one shard, whole or not at all; several processes may write the same one at the same time."""
    partial = folder / f".{name}.{os.getpid()}"
    made = _write_shard(partial, records)
    os.replace(partial, folder / name)
    return dataclasses.replace(made, name=name)


def _write_shard(path: Path, records: Sequence[bytes]) -> Shard:
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    for record in records:
        writer.write(record)
    writer.close()
    return Shard(path.name, len(records), path.stat().st_size, file_hash(path))


def _name(number: int) -> str:
    return f"groups-{number:05d}.array_record"


def _check_size(folder: Path, shard: Shard) -> None:
    path = folder / shard.name
    if not path.is_file():
        raise DataError(f"{path}: is missing, though the card names it; write the data again")
    if path.stat().st_size != shard.bytes:
        raise DataError(f"{path}: has {path.stat().st_size} bytes, the card says {shard.bytes}; write the data again")


def _reasons(card: Card) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in card.drops.items()) or "nothing"
