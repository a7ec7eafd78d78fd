"""Tokenised groups on disk: made once from a folder of groups and a tokenizer, then read by index."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD, file_hash, is_done, new_folder, write_file
from toolrm_jax.preferences.card import card_hash, read_card
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import Group

SHARD, INDEX = "tokens.array_record", "sizes.npy"
FORMAT = {"format": 2}
"""What else a card must say: files of another form are made anew. 2: with rule scores, and an index of sizes."""


def encode(chat: Chat, group: Group) -> TokenGroup:
    """A group as tokens. Raises DataError where the template does not keep the context as an exact prefix."""
    encoded = chat.encode_group(group.task.context, group.candidates, group.task.id)
    kinds = tuple(str(verdict.error_type or "") for verdict in group.verdicts)
    right = tuple(verdict.right for verdict in group.verdicts)
    scores = tuple(verdict.score for verdict in group.verdicts)
    return TokenGroup(group.task.id, group.task.source, encoded.context, encoded.responses, right, kinds, scores)


def tokenise(groups: Path, chat: Chat, output: Path) -> TokenGroups:
    """The token groups of a folder of groups, written under `output` unless they are there already."""
    inputs = {"groups": card_hash(read_card(groups)), "tokenizer": chat.fingerprint}
    if not is_done(output, FORMAT, inputs, overwrite=True):
        source = read_groups(groups)
        with new_folder(output, overwrite=True) as partial:
            drops: Counter[str] = Counter()
            made = (kept for group in source if (kept := without_contradiction(encode(chat, group), drops)))
            groups_written, tokens = write_tokens(partial, made)
            card = {"config": FORMAT, "inputs": inputs, "groups": groups_written, "tokens": tokens}
            card["drops"] = dict(drops)
            card["sha256"] = file_hash(partial / SHARD)
            write_file(partial / CARD, json.dumps(card, indent=1) + "\n")
    return read_tokens(output)


def without_contradiction(group: TokenGroup, drops: Counter[str]) -> TokenGroup | None:
    """The group without wrong answers whose tokens are those of a right one; None where no pair is left.

    Such a pair could not be learned: the model is shown the same twice, and told that one is better.
    """
    rights = {answer.tobytes() for answer, right in zip(group.responses, group.right) if right}
    same = [not right and answer.tobytes() in rights for answer, right in zip(group.responses, group.right)]
    if not any(same):
        return group
    drops["wrong answer with the tokens of a right one"] += sum(same)
    if all(right or twin for right, twin in zip(group.right, same)):
        drops["group without a wrong answer left"] += 1
        return None
    keep = lambda values: tuple(value for value, twin in zip(values, same) if not twin)  # noqa: E731
    return dataclasses.replace(
        group,
        responses=keep(group.responses),
        right=keep(group.right),
        kinds=keep(group.kinds),
        scores=keep(group.scores),
    )


def write_tokens(folder: Path, groups: Iterable[TokenGroup]) -> tuple[int, int]:
    """Write the groups and an index of their sizes into `folder`; how many groups and tokens they are."""
    writer = ArrayRecordWriter(str(folder / SHARD), "group_size:1,zstd,max_parallelism:1")
    index = []
    for group in groups:
        writer.write(group.to_bytes())
        index.append((group.size, len(group.responses), group.highest))
    writer.close()
    np.save(folder / INDEX, np.array(index, np.int32).reshape(-1, 3))
    return len(index), sum(size for size, *_ in index)


class TokenGroups(Sequence[TokenGroup]):
    """The token groups of a folder by index, read as they are asked for; their sizes are in memory.

    sizes, answers, highest: int32 [groups], tokens of each, its number of answers, and its highest token id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._records = ArrayRecordDataSource([str(folder / SHARD)])
            self.sizes, self.answers, self.highest = np.load(folder / INDEX).T
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(error) from error
        if len(self._records) != len(self.sizes):
            raise self._damaged(f"{len(self._records)} groups, {len(self.sizes)} sizes")

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> TokenGroup: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenGroup]: ...
    def __getitem__(self, index: int | slice) -> TokenGroup | list[TokenGroup]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"group {index} of {len(self)}")
        try:
            return TokenGroup.from_bytes(self._records[index % len(self)])
        except (RuntimeError, ValueError, KeyError, struct.error) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: object) -> DataError:
        return DataError(f"{self.folder}: damaged ({error}); remove it and run again")


def read_tokens(folder: Path) -> TokenGroups:
    """The token groups of a folder. Raises DataError where they are damaged."""
    return TokenGroups(folder)
