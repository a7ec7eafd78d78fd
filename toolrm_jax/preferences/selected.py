"""The drawn groups as shards of their own: each with the pairs chosen of it, and no candidate beyond those."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_data_source import ArrayRecordDataSource

from toolrm_jax.files import write_file
from toolrm_jax.preferences.card import Tally
from toolrm_jax.preferences.index import CLASSES, MULTI, NO_CALL, SINGLE
from toolrm_jax.preferences.pairs import BINS, intensity_bin
from toolrm_jax.preferences.select import Pick
from toolrm_jax.preferences.shards import put_shard

_COMPLEXITIES = ((0, "0"), (2, "1-2"), (4, "3-4"), (7, "5-7"), (12, "8-12"), (20, "13-20"), (50, "21-50"))


def write_selected(work: Path, name: str, shards: Sequence[Path], picks: Sequence[Pick]) -> None:
    """Write the picked groups of `shards` as `groups-NAME`, in the order of `picks`, and then the facts about them."""
    tally, tables, records = Tally(), _PairTables(), []
    for record, pick in _read(shards, picks):
        whole = json.loads(record)
        group = cut(whole, pick)
        tally.add_json(group)
        tables.add(group)
        # One that is taken as it is need not be written anew.
        records.append(record if group is whole else json.dumps(group, separators=(",", ":")).encode("ascii"))
    shard = put_shard(work, f"groups-{name}.array_record", records)
    facts = {"shard": shard.to_json(), "counts": tally.tables(), "tables": tables.found}
    write_file(facts_path(work, name), json.dumps(facts))


def facts_path(work: Path, name: str) -> Path:
    """Where the facts of the shard of that name are, once it is done."""
    return work / f"facts-{name}.json"


def _read(shards: Sequence[Path], picks: Sequence[Pick]) -> Iterator[tuple[bytes, Pick]]:
    by_shard: dict[int, list[Pick]] = {}
    for pick in picks:
        by_shard.setdefault(pick.shard, []).append(pick)
    for shard, some in by_shard.items():
        source = ArrayRecordDataSource([str(shards[shard])])
        yield from zip(source.__getitems__([pick.row for pick in some]), some)


def cut(group: dict[str, Any], pick: Pick) -> dict[str, Any]:
    """A group's record as picked: its first right answers and `wrong` others, or those that the choices name."""
    if pick.choices:
        named = [place for choice in pick.choices for place in (choice.better, choice.worse)]
    elif pick.wrong is not None:
        places = range(len(group["verdicts"]))
        right = [place for place in places if group["verdicts"][place]["right"]]
        named = right + [place for place in places if place not in right][: pick.wrong]
    else:
        return group
    kept = sorted(set(named))
    out = {**group, **{name: [group[name][place] for place in kept] for name in ("candidates", "verdicts")}}
    if pick.choices:
        new = {old: place for place, old in enumerate(kept)}
        out["choices"] = []
        for choice in pick.choices:
            pair = {"better": new[choice.better], "worse": new[choice.worse]}
            out["choices"].append({**pair, "swapped": True} if choice.swapped else pair)
    return out


class _PairTables:
    """Counts of pairs: intensity by complexity, and source by class of task and error type of the worse answer."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Counter[str]]] = {}

    def add(self, group: dict[str, Any]) -> None:
        """Count the pairs of one record."""
        calls = group["task"]["reference"].get("calls", ())
        level = _level(len(calls) + sum(len(call["arguments"]) for call in calls))
        turns = sum(message["role"] == "user" for message in group["task"]["context"]["messages"])
        kind = CLASSES[(MULTI if turns > 1 else SINGLE) if calls else NO_CALL]
        source = group["task"]["source"]
        for better, worse in _pairs(group):
            where = intensity_bin(better["score"], worse["score"])
            self._count("intensity by complexity", f"({where / BINS:.1f}, {(where + 1) / BINS:.1f}]", level)
            self._count("pairs by source and class", source, kind)
            self._count("pairs by source and error type", source, str(worse.get("error_type", "none")))

    def _count(self, table: str, row: str, column: str) -> None:
        self.found.setdefault(table, {}).setdefault(row, Counter())[column] += 1


def _pairs(group: dict[str, Any]):
    verdicts = group["verdicts"]
    if "choices" in group:
        yield from ((verdicts[choice["better"]], verdicts[choice["worse"]]) for choice in group["choices"])
    else:
        right = [verdict for verdict in verdicts if verdict["right"]]
        wrong = [verdict for verdict in verdicts if not verdict["right"]]
        yield from ((better, worse) for better in right for worse in wrong)


def _level(complexity: int) -> str:
    return next((name for most, name in _COMPLEXITIES if complexity <= most), "over 50")
