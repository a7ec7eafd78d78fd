"""Tokenised groups on disk: made once from a folder of groups and a tokenizer, then read by index."""

from __future__ import annotations

import json
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from toolrm_jax.data.chat import Chat
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD, file_hash, is_done, new_folder, write_file
from toolrm_jax.preferences.card import card_hash, read_card
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import Group

SHARD = "tokens.array_record"


def encode(chat: Chat, group: Group) -> TokenGroup:
    """A group as tokens. Raises DataError where the template does not keep the context as an exact prefix."""
    encoded = chat.encode_group(group.task.context, group.candidates, group.task.id)
    kinds = tuple(str(verdict.error_type or "") for verdict in group.verdicts)
    right = tuple(verdict.right for verdict in group.verdicts)
    return TokenGroup(group.task.id, group.task.source, encoded.context, encoded.responses, right, kinds)


def tokenise(groups: Path, chat: Chat, output: Path) -> list[TokenGroup]:
    """The token groups of a folder of groups, written under `output` unless they are there already."""
    inputs = {"groups": card_hash(read_card(groups)), "tokenizer": chat.fingerprint}
    if not is_done(output, {}, inputs, overwrite=True):
        source = read_groups(groups)
        with new_folder(output, overwrite=True) as partial:
            writer = ArrayRecordWriter(str(partial / SHARD), "group_size:1,zstd,max_parallelism:1")
            tokens = 0
            for group in source:
                one = encode(chat, group)
                tokens += one.size
                writer.write(one.to_bytes())
            writer.close()
            card = {"config": {}, "inputs": inputs, "groups": len(source), "tokens": tokens}
            card["sha256"] = file_hash(partial / SHARD)
            write_file(partial / CARD, json.dumps(card, indent=1) + "\n")
    return read_tokens(output)


def read_tokens(folder: Path) -> list[TokenGroup]:
    """All token groups of a folder, in memory: ids of a few thousand tokens each are small."""
    source = ArrayRecordDataSource([str(folder / SHARD)])
    try:
        return [TokenGroup.from_bytes(record) for record in source.__getitems__(range(len(source)))]
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{folder}: damaged ({error}); remove it and run again") from error
