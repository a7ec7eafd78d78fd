"""The second stage of pairs from many sources: of all groups those that are drawn, as OUTPUT/train and OUTPUT/held_out.

Every epoch of training draws from the groups that were made for it. What is held out is settled by the first one, of
which the others have no conversation; nor have they a task that the first one left out, so that near-duplicates stay
out. So an epoch's groups are the same however many more there are.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD, is_complete, is_done, write_file
from toolrm_jax.preferences.card import Card, Shard, added, card_markdown, card_text, new_card, read_card
from toolrm_jax.preferences.resume import finish, work_folder
from toolrm_jax.preferences.select import HELD_OUT, NEAR, REPEATED, TRAIN, Indexes, Pick, Selection
from toolrm_jax.preferences.selected import facts_path, write_selected
from toolrm_jax.preferences.stage import index_paths, shard_name
from toolrm_jax.preferences.workers import run_all

if TYPE_CHECKING:
    from toolrm_jax.commands.prepare_pairs import PairsConfig

NOT_IN_FIRST = "held out, or left out of the first epoch"
Part = tuple[str, Sequence[Path], Sequence[Pick]]
"""Of a side: the name of a shard to write, and the picks of which shards it is made of."""


def draw(config: PairsConfig, groups: Path, made_from: dict[str, Any], inputs: dict[str, str], overwrite: bool) -> None:
    """Draw pairs, and write the groups they are of. The training side is named last."""
    output = groups.parent
    whole = read_card(groups)
    drops = Counter(whole.drops)
    parts: dict[str, list[Part]] = {HELD_OUT: [], TRAIN: []}
    tables = []
    for epoch, (indexes, left_out, selection) in enumerate(_selections(config, groups)):
        drops += Counter(left_out) + Counter(selection.drops)
        tables.append(selection.tables)
        for side, picks in selection.picks.items():
            if side == TRAIN and not picks:
                raise DataError(f"{output / side}: no pair to draw{_of(epoch)}; dropped: {listed(drops)}")
            parts[side] += _parts(epoch, _shards(indexes.paths), picks, config.run.shard_groups)
    drawn = tables[0] if len(tables) == 1 else added(tables)
    for side, some in parts.items():
        about = made_from | {"side": side}
        if is_done(output / side, about, inputs, overwrite):
            continue  # a run was stopped between the two sides
        if not some:  # nothing is held out; what another drawing held out may be trained on now
            if is_complete(output / side):
                shutil.rmtree(output / side)
            continue
        work = work_folder(output / side, about, inputs, overwrite)
        todo = [(work, name, shards, picks) for name, shards, picks in some if not facts_path(work, name).exists()]
        run_all(write_selected, todo, config.run.workers, config.run.cluster)
        facts = [json.loads(facts_path(work, name).read_bytes()) for name, *_ in some]
        found = (whole.tables or {}) | drawn | added(one["tables"] for one in facts)
        card = new_card(about, inputs, drops, whole.changes, found, whole.sources)
        write_card(
            work, card, added(one["counts"] for one in facts), tuple(Shard.from_json(one["shard"]) for one in facts)
        )
        for name, *_ in some:
            facts_path(work, name).unlink()
        finish(work, output / side)


def write_card(work: Path, card: Card, counts: dict[str, dict[str, int]], shards: tuple[Shard, ...]) -> None:
    """Write a card of groups that are there, for programs and for people."""
    whole = dataclasses.replace(card, counts=counts, shards=shards)
    write_file(work / "card.md", card_markdown(whole))
    write_file(work / CARD, card_text(whole))


def listed(drops: Mapping[str, int]) -> str:
    """What was dropped, in words."""
    return ", ".join(f"{count} {reason}" for reason, count in drops.items() if count)


def _selections(config: PairsConfig, groups: Path) -> Iterator[tuple[Indexes, dict[str, int], Selection]]:
    """Per epoch: the indexes of its groups, how many were left out before drawing and why, and what was drawn."""
    allowed = np.empty(0, np.uint64)
    for epoch in range(config.epochs):
        indexes = Indexes(index_paths(groups, epoch))
        drops = {REPEATED: indexes.drop_repeated()}
        if epoch:
            drops[NOT_IN_FIRST] = indexes.drop(~np.isin(indexes.keys, allowed))
            yield indexes, drops, config.select(indexes, config.pairs - config.held_out, 0)
            continue
        if config.data.similarity is not None:
            drops[NEAR] = indexes.drop_near(config.data.similarity, groups.parent / ".signatures.npy")
        selection = config.select(indexes, config.pairs, config.held_out)
        places = [int(indexes.starts[pick.shard]) + pick.row for pick in selection.picks[HELD_OUT]]
        aside = np.isin(indexes.conversations, indexes.conversations[places])
        allowed = indexes.keys[indexes.kept & ~aside]
        yield indexes, drops, selection


def _shards(paths: Sequence[Path]) -> list[Path]:
    return [path.with_name(path.name.replace("index-", "groups-").replace(".npz", ".array_record")) for path in paths]


def _parts(epoch: int, shards: Sequence[Path], picks: Sequence[Pick], size: int) -> Iterator[Part]:
    for start in range(0, len(picks), size):
        yield shard_name(f"{start // size:05d}", epoch), shards, picks[start : start + size]


def _of(epoch: int) -> str:
    return f" for epoch {epoch}" if epoch else ""
