"""The data card: what a folder of groups holds, whence it came, and under which licences."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD, json_hash, plain
from toolrm_jax.toolcalls.types import Group, Record

RECORDED_VERSIONS = ("toolrm_jax", "array_record", "bfcl-eval", "rensa")


@dataclasses.dataclass(frozen=True, slots=True)
class Shard(Record):
    """One file of groups: its name in the folder, how many groups and bytes it has, and its sha256 (hex)."""

    name: str
    groups: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Card(Record):
    """The facts about a folder of groups.

    `counts` holds tables by name: groups by `source`, `category` and `licence`; candidates by `maker` and
    `verdict`; wrong candidates by `error type`. `drops` counts what was left out, by reason, and `changes` what
    was altered on the way. `inputs` names what was read and its hash. `tables` are counts by row and column, such as
    pairs by source and intensity; `sources` says of each source its licence, origin and who wrote its answers.
    """

    config: dict[str, Any]
    config_hash: str
    inputs: dict[str, str]
    drops: dict[str, int]
    changes: dict[str, int]
    versions: dict[str, str]
    counts: dict[str, dict[str, int]]
    shards: tuple[Shard, ...]
    tables: dict[str, dict[str, dict[str, int]]] | None = None
    sources: dict[str, dict[str, str]] | None = None

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "shards":
            return tuple(Shard.from_json(item) for item in value)
        return value

    @property
    def groups(self) -> int:
        """How many groups the folder holds."""
        return sum(shard.groups for shard in self.shards)


def new_card(
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    drops: Mapping[str, int],
    changes: Mapping[str, int],
    tables: Mapping[str, dict[str, dict[str, int]]] | None = None,
    sources: Mapping[str, dict[str, str]] | None = None,
) -> Card:
    """A card for groups that are still to be written: `write_groups` fills in counts and shards."""
    resolved = plain(dict(config))
    return Card(
        config=resolved,
        config_hash=json_hash(resolved),
        inputs=dict(inputs),
        drops=dict(sorted(drops.items())),
        changes=dict(sorted(changes.items())),
        versions=_versions(),
        counts={},
        shards=(),
        tables=None if tables is None else dict(tables),
        sources=None if sources is None else dict(sources),
    )


_NUMBER = re.compile(r"\d+")
_TASK_TABLES = ("source", "category", "licence")


class Tally:
    """Counts groups as they pass."""

    def __init__(self) -> None:
        names = (*_TASK_TABLES, "verdict", "maker", "error type")
        self._tables: dict[str, Counter[str]] = {name: Counter() for name in names}

    def add(self, group: Group) -> None:
        """Count one group, its candidates and their verdicts."""
        for name in _TASK_TABLES:
            self._tables[name][getattr(group.task, name)] += 1
        for candidate, verdict in zip(group.candidates, group.verdicts):
            self._add(candidate.maker, verdict.right, verdict.error_type)

    def add_json(self, group: Mapping[str, Any]) -> None:
        """Count one group in the form that its record holds."""
        for name in _TASK_TABLES:
            self._tables[name][group["task"][name]] += 1
        for candidate, verdict in zip(group["candidates"], group["verdicts"]):
            self._add(candidate.get("maker", ""), verdict["right"], verdict.get("error_type"))

    def _add(self, maker: str, right: bool, error_type: str | None) -> None:
        self._tables["maker"][maker or "unknown"] += 1
        self._tables["verdict"]["right" if right else "wrong"] += 1
        if not right:
            self._tables["error type"][str(error_type or "none named")] += 1

    def tables(self) -> dict[str, dict[str, int]]:
        """The counts so far, each table in the order of its names."""
        return {name: dict(sorted(table.items())) for name, table in self._tables.items()}


def added(tables: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Tables of counts added up, name by name, at any depth; names in order, numbers they begin with by value."""
    found: dict[str, Any] = {}
    for one in tables:
        _add_to(found, one)
    return _in_order(found)


def _add_to(total: dict[str, Any], one: Mapping[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, Mapping):
            _add_to(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def _in_order(table: dict[str, Any]) -> dict[str, Any]:
    names = sorted(table, key=lambda name: (int(found[0]) if (found := _NUMBER.match(name)) else -1, name))
    return {name: _in_order(table[name]) if isinstance(table[name], dict) else table[name] for name in names}


def card_text(card: Card) -> str:
    """The card as the JSON text of `card.json`."""
    return json.dumps(card.to_json(), indent=1, ensure_ascii=False) + "\n"


def card_hash(card: Card) -> str:
    """sha256 (hex) of the card: since it holds the shards' hashes, it stands for the data as a whole."""
    return json_hash(card.to_json())


def read_card(folder: Path | str) -> Card:
    """The card of a complete folder. DataError where there is none or it is not a card."""
    path = Path(folder) / CARD
    try:
        return Card.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: no complete data here ({CARD} is missing); write it with `toolrm prepare`"
        ) from error
    except (OSError, ValueError, TypeError, DataError) as error:
        raise DataError(f"{path}: not a data card ({error}); write the data again") from error


def card_markdown(card: Card) -> str:
    """The card as Markdown, for people."""
    parts = ["# Data card", f"{card.groups} groups in {len(card.shards)} shards. Card hash `{card_hash(card)}`."]
    parts += [_table(name, counts) for name, counts in card.counts.items() if counts]
    parts += [_grid(name, rows) for name, rows in (card.tables or {}).items() if rows]
    parts += [_table(name, counts) for name, counts in (("drops", card.drops), ("changes", card.changes)) if counts]
    if card.sources:
        parts.append(_sources(card.sources))
    for name, rows in (("inputs", card.inputs), ("versions", card.versions)):
        parts += [_table(name, rows, "value")] if rows else []
    shards = {shard.name: f"{shard.groups} groups, `{shard.sha256}`" for shard in card.shards}
    parts.append(_table("shards", shards, "content"))
    parts.append(f"## config\n\nHash `{card.config_hash}`.\n\n```json\n{json.dumps(card.config, indent=1)}\n```")
    return "\n\n".join(parts) + "\n"


def _grid(title: str, rows: Mapping[str, Mapping[str, int]]) -> str:
    """Rows by columns, with their sums."""
    columns = list(added(rows.values()))
    lines = [f"## {title}", "", "| | " + " | ".join(map(_cell, [*columns, "sum"])) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) + 1))
    for name, row in rows.items():
        counts = [row.get(column, 0) for column in columns]
        lines.append(f"| {_cell(name)} | " + " | ".join(map(str, [*counts, sum(counts)])) + " |")
    return "\n".join(lines)


def _sources(sources: Mapping[str, Mapping[str, str]]) -> str:
    """Where the data come from, and which licences whoever passes the data on must keep to."""
    columns = list(dict.fromkeys(column for facts in sources.values() for column in facts))
    lines = ["## sources", "", "| source | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, facts in sources.items():
        lines.append(f"| {name} | " + " | ".join(_cell(facts.get(column, "")) for column in columns) + " |")
    licences = sorted({facts["licence"] for facts in sources.values() if "licence" in facts})
    shared = [name for name in licences if "-SA-" in name or name.endswith("-SA")]
    lines += ["", f"Licences to inherit: {', '.join(licences)}."]
    if shared:
        lines.append(f"Whatever is passed on with data under {', '.join(shared)} must be shared alike.")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


def _table(title: str, rows: Mapping[str, Any], head: str = "count") -> str:
    lines = [f"## {title}", "", f"| {title} | {head} |", "|---|---:|" if head == "count" else "|---|---|"]
    lines += [f"| {_cell(name)} | {value} |" for name, value in rows.items()]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    found = {}
    for name in RECORDED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional source's package: then nothing here was read with it
    return found
