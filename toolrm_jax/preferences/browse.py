"""Groups to look at: samples of a folder as one self-contained HTML page, and its card as tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from toolrm_jax.preferences.card import Card, added, card_hash
from toolrm_jax.preferences.pairs import complexity, pairs
from toolrm_jax.preferences.shards import Groups
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Call, Candidate, Group, Message, Tool, Verdict

TEMPLATE = Path(__file__).with_name("browse.html.jinja")
TEXT_LIMIT = 4000
"""Characters shown of one text; models can write very long ones."""
_POOL = 12  # groups looked at for each one shown, so that rare sources are among them


def samples(groups: Groups, count: int, seed: int) -> list[Group]:
    """At most `count` groups, of each source and error type in turn, in a seeded order."""
    rng = seeded(seed, "samples to look at")
    drawn = [groups[i] for i in rng.sample(range(len(groups)), min(len(groups), _POOL * count))]
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in drawn:
        error = next((str(verdict.error_type) for verdict in group.verdicts if not verdict.right), "")
        kinds.setdefault((group.task.source, error), []).append(group)
    queues = [kinds[kind] for kind in sorted(kinds)]
    chosen: list[Group] = []
    while len(chosen) < count and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return chosen[:count]


def page(card: Card, chosen: Sequence[Group], title: str) -> str:
    """The HTML page. It needs no other file and no network; what models and users wrote is shown as text."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    facts = {"title": title, "groups": card.groups, "hash": card_hash(card)[:16], "sources": card.sources or {}}
    return template.render(facts=facts, tables=_tables(card), counts=card.counts, shown=[_shown(one) for one in chosen])


def card_lines(card: Card, width: int = 118) -> Iterator[str]:
    """The card's tables as lines of text of at most `width` characters, as far as names are shorter than that."""
    yield f"{card.groups:,} groups in {len(card.shards)} shards, card {card_hash(card)[:16]}"
    for name, rows in (*card.counts.items(), ("left out", card.drops), ("changed", card.changes)):
        if rows:
            yield ""
            yield name
            yield from _columns([f"{count:>9,}  {label}" for label, count in rows.items()], width)
    for name, rows in _tables(card).items():
        yield ""
        yield name
        yield from _table(rows, width)


def _table(rows: Mapping[str, Mapping[str, int]], width: int) -> list[str]:
    """Rows and columns, or these two changed over, whichever fits; else the counts of each row side by side."""
    turned: dict[str, dict[str, int]] = {}
    for label, row in rows.items():
        for column, count in row.items():
            turned.setdefault(column, {})[label] = count
    for table in (rows, turned):
        lines = _aligned(table)
        if max(map(len, lines)) <= width:
            return lines
    found = []
    for label, row in rows.items():
        found.append(f"  {label}")
        cells = [f"{count:>9,}  {column}" for column, count in row.items() if count]
        found += [f"  {line}" for line in _columns(cells, width - 2)] if cells else []
    return found


def _aligned(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    first = max(map(len, rows))
    columns = list(next(iter(rows.values())))
    sizes = [max(len(column), *(len(f"{row[column]:,}") for row in rows.values())) for column in columns]
    lines = ["  " + " " * first + "".join(f"  {column:>{size}}" for column, size in zip(columns, sizes))]
    for label, row in rows.items():
        cells = (f"  {row[column]:>{size},}" for column, size in zip(columns, sizes))
        lines.append(f"  {label:<{first}}" + "".join(cells))
    return lines


def _columns(cells: Sequence[str], width: int) -> Iterator[str]:
    size = max(map(len, cells)) + 2
    across = max(1, width // size)
    down = -(-len(cells) // across)
    for row in range(down):
        yield "".join(cell.ljust(size) for cell in cells[row::down]).rstrip()


def _tables(card: Card) -> dict[str, dict[str, dict[str, int]]]:
    """The tables that hold anything, every row with all columns, in their order."""
    found = {}
    for name, rows in (card.tables or {}).items():
        columns = added(rows.values())
        if rows:
            found[name] = {label: {column: row.get(column, 0) for column in columns} for label, row in rows.items()}
    return found


def _shown(group: Group) -> dict[str, Any]:
    task = group.task
    original = {new: old for old, new in (group.names or {}).items()}
    errors = sorted({str(verdict.error_type) for verdict in group.verdicts if verdict.error_type})
    return {
        "id": task.id,
        "source": task.source,
        "category": task.category,
        "licence": task.licence,
        "complexity": complexity(task.reference) if task.reference else None,
        "epoch": group.epoch,
        "errors": errors,
        "tools": [_tool(tool) for tool in task.context.tools],
        "messages": [_message(message) for message in task.context.messages],
        "candidates": [_candidate(*both) for both in zip(group.candidates, group.verdicts)],
        "reference": _reference(group),
        "pairs": _pairs(group),
        "names": original,
        "stale": [f"{one.parameter} = {_json(one.value)}" for one in task.stale],
    }


def _pairs(group: Group) -> list[dict[str, Any]]:
    places = {id(candidate): place for place, candidate in enumerate(group.candidates, 1)}
    return [
        {"chosen": places[id(pair.chosen)], "rejected": places[id(pair.rejected)], "intensity": pair.intensity}
        for pair in pairs(group)
    ]


def _reference(group: Group) -> dict[str, Any] | None:
    """The reference, where it is none of the answers shown."""
    reference = group.task.reference
    if reference is None or any(candidate.maker == "reference" for candidate in group.candidates):
        return None
    return {"calls": [_call(call) for call in reference.calls], "text": _cut(reference.text or "")}


def _tool(tool: Tool) -> dict[str, str]:
    return {"name": tool.name, "description": tool.description, "parameters": json.dumps(tool.parameters, indent=1)}


def _message(message: Message) -> dict[str, Any]:
    calls = [_call(call) for call in message.calls]
    return {"role": message.role, "content": _cut(message.content), "calls": calls, "name": message.name}


def _candidate(candidate: Candidate, verdict: Verdict) -> dict[str, Any]:
    text = candidate.text if candidate.fault is None else candidate.raw or ""
    return {
        "maker": candidate.maker or "unknown",
        "calls": [_call(call) for call in candidate.calls],
        "text": _cut(text),
        "right": verdict.right,
        "score": f"{verdict.score:.2f}",
        "error": str(verdict.error_type or ""),
        "reason": verdict.reason,
    }


def _call(call: Call) -> Mapping[str, Any]:
    return {"name": call.name, "arguments": [(name, _cut(_json(value))) for name, value in call.arguments.items()]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text) - TEXT_LIMIT:,} characters more)"
