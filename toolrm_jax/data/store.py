"""Tokenised groups on disk: made once from a folder of groups and a tokenizer, then read by index."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD, file_hash, is_done, new_folder, write_file
from toolrm_jax.preferences.card import card_hash, read_card
from toolrm_jax.preferences.cut_off import without_cut_off
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import Group

SHARD, INDEX = "tokens.array_record", "sizes.npy"
FORMAT = {"format": 4}
"""What else a card must say: files of another form are made anew. 4: with the epoch that a group was prepared for."""
COLUMNS = ("size", "count", "highest", "right_tokens", "epoch")
"""What the index holds of every group: properties of `TokenGroup`."""
Answers = Literal["all", "reference"]
NOT_WRITTEN = "group with an answer that the chat template does not keep apart from its context"


def encode(chat: Chat, group: Group) -> TokenGroup:
    """A group as tokens. Raises DataError where the template does not keep the context as an exact prefix."""
    encoded = chat.encode_group(group.task.context, group.candidates, group.task.id)
    kinds = tuple(str(verdict.error_type or "") for verdict in group.verdicts)
    right = tuple(verdict.right for verdict in group.verdicts)
    scores = tuple(verdict.score for verdict in group.verdicts)
    pairs = tuple((choice.better, choice.worse) for choice in group.choices)
    task, both = group.task, (encoded.context, encoded.responses)
    return TokenGroup(task.id, task.source, *both, right, kinds, scores, pairs, group.epoch)


def tokenise(groups: Path, chat: Chat, output: Path, answers: Answers = "all") -> TokenGroups:
    """The token groups of a folder of groups, written under `output` unless they are there already.

    answers: reference keeps of each group its first right answer alone, which recipes put there.
    """
    inputs = {"groups": card_hash(read_card(groups)), "tokenizer": chat.fingerprint}
    form = FORMAT | {"answers": answers}
    keep = without_contradiction if answers == "all" else reference_alone
    drops: Counter[str] = Counter()

    def made() -> Iterator[TokenGroup]:
        first: DataError | None = None
        count = 0
        for group in read_groups(groups):
            if (group := without_cut_off(group, drops)) is None:
                continue
            try:
                kept = keep(encode(chat, group), drops)
            except DataError as error:
                drops[NOT_WRITTEN] += 1
                first, kept = first or error, None
            if kept:
                count += 1
                yield kept
        # One answer may begin with white space that melts into the template's; all of them is the template's fault.
        if first is not None and not count:
            raise first

    if not is_done(output, form, inputs, overwrite=True):
        with new_folder(output, overwrite=True) as partial:
            groups_written, tokens = write_tokens(partial, made())
            card = {"config": form, "inputs": inputs, "groups": groups_written, "tokens": tokens}
            card["drops"] = dict(drops)
            card["sha256"] = file_hash(partial / SHARD)
            write_file(partial / CARD, json.dumps(card, indent=1) + "\n")
    return read_tokens(output)


def without_contradiction(group: TokenGroup, drops: Counter[str]) -> TokenGroup | None:
    """The group without wrong answers whose tokens are those of a right one, and without pairs of equal tokens.

    Such a pair could not be learned: the model is shown the same twice, and told that one is better. None where no
    pair is left.
    """
    tokens = [answer.tobytes() for answer in group.responses]
    rights = {answer for answer, right in zip(tokens, group.right) if right}
    same = [not right and answer in rights for answer, right in zip(tokens, group.right)]
    pairs = [
        (better, worse)
        for better, worse in group.pairs
        if not (same[better] or same[worse] or tokens[better] == tokens[worse])
    ]
    if not any(same) and len(pairs) == len(group.pairs):
        return group
    if any(same):
        drops["wrong answer with the tokens of a right one"] += sum(same)
    if len(pairs) < len(group.pairs):
        drops["chosen pair with an answer left out, or with the same tokens twice"] += len(group.pairs) - len(pairs)
    if group.pairs and not pairs:
        drops["group without a chosen pair left"] += 1
        return None
    if not group.pairs and all(right or twin for right, twin in zip(group.right, same)):
        drops["group without a wrong answer left"] += 1
        return None
    return _with_answers(group, [place for place, twin in enumerate(same) if not twin], pairs)


def reference_alone(group: TokenGroup, drops: Counter[str]) -> TokenGroup | None:
    """The group with its first right answer alone; None where it has none."""
    if not any(group.right):
        drops["group without a right answer"] += 1
        return None
    return _with_answers(group, [group.right.index(True)], ())


def _with_answers(group: TokenGroup, kept: Sequence[int], pairs: Iterable[tuple[int, int]]) -> TokenGroup:
    """The group with the answers at these places, and with these pairs of them."""
    at = {old: new for new, old in enumerate(kept)}
    keep = lambda values: tuple(values[place] for place in kept if values)  # noqa: E731
    return dataclasses.replace(
        group,
        responses=keep(group.responses),
        right=keep(group.right),
        kinds=keep(group.kinds),
        scores=keep(group.scores),
        pairs=tuple((at[better], at[worse]) for better, worse in pairs),
    )


def write_tokens(folder: Path, groups: Iterable[TokenGroup]) -> tuple[int, int]:
    """Write the groups and an index of their sizes into `folder`; how many groups and tokens they are."""
    writer = ArrayRecordWriter(str(folder / SHARD), "group_size:1,zstd,max_parallelism:1")
    index = []
    for group in groups:
        writer.write(group.to_bytes())
        index.append([getattr(group, name) for name in COLUMNS])
    writer.close()
    np.save(folder / INDEX, np.array(index, np.int32).reshape(-1, len(COLUMNS)))
    return len(index), sum(sizes[0] for sizes in index)


def left_out(folder: Path) -> dict[str, int]:
    """What was left out of a folder of token groups, by reason."""
    return json.loads((folder / CARD).read_text())["drops"]


class TokenGroups(Sequence[TokenGroup]):
    """The token groups of a folder by index, read as they are asked for.

    columns: int32 [groups] by the names in COLUMNS, what of each is kept in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._records = ArrayRecordDataSource([str(folder / SHARD)])
            self.columns = dict(zip(COLUMNS, np.load(folder / INDEX).T, strict=True))
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(error) from error
        if len(self._records) != len(self):
            raise self._damaged(f"{len(self._records)} groups, {len(self)} sizes")

    def __len__(self) -> int:
        return len(self.columns["size"])

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


def measure(groups: Sequence[TokenGroup]) -> dict[str, np.ndarray]:
    """Of every group what COLUMNS name, int32 [groups] each; of those on disk nothing is read for it."""
    if isinstance(groups, TokenGroups):
        return groups.columns
    return {name: np.array([getattr(group, name) for group in groups], np.int32) for name in COLUMNS}


def read_tokens(folder: Path) -> TokenGroups:
    """The token groups of a folder. Raises DataError where they are damaged."""
    return TokenGroups(folder)
