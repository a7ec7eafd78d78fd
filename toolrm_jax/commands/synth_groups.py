"""The last step of `toolrm synth`: answers become groups with verdicts, and a summary of each model."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrm_jax.commands import settings
from toolrm_jax.commands.prepare import summary
from toolrm_jax.commands.synth_models import Entry
from toolrm_jax.commands.synth_table import aligned
from toolrm_jax.errors import ConfigError
from toolrm_jax.files import first_difference, is_complete, json_hash, plain, write_file
from toolrm_jax.preferences.card import Card, new_card, read_card
from toolrm_jax.preferences.shards import fingerprint, write_groups
from toolrm_jax.synth.grade import ModelTally, grade, warnings
from toolrm_jax.synth.journal import Journal
from toolrm_jax.toolcalls.types import Group, Task

if TYPE_CHECKING:
    from toolrm_jax.commands.synth import Config

GROUPS, SUMMARY = "groups", "summary.json"
UNWRITABLE = "the template cannot write it"
_NOT_OF_GROUPS = ("output", "dry_run", "retry_failed", "patience", "limits", "folder")
_NOT_OF_ANSWERS = ("servers", "at_once", "key_variable", "together")
"""Settings on which groups do not depend: of the whole, and of one model."""


def write_answers(
    folder: Path,
    made_from: dict[str, Any],
    drops: Counter[str],
    tasks: Sequence[Task],
    entries: Sequence[Entry],
    journal: Journal,
    tallies: dict[str, ModelTally],
    replaced: bool,
) -> Card:
    """The groups of all tasks, in their order; counts every answer in `tallies`."""
    readers = {entry.name: entry.read for entry in entries}
    asked = {entry.name: {task.id for task in entry.tasks} for entry in entries}
    counted = Counter(drops)

    groups = []
    for task in tasks:
        outcomes = {}
        for entry in entries:
            if task.id not in asked[entry.name]:
                continue
            if found := entry.requests_of(task):
                outcomes[entry.name] = journal.outcomes(found[1])
            else:
                counted[f"{entry.name}: {UNWRITABLE}"] += 1
        group = grade(task, outcomes, readers, tallies)
        if isinstance(group, Group):
            groups.append(group)
        else:
            counted[group] += 1
    inputs = {"tasks": fingerprint(tasks), "answers": json_hash([_answers(group) for group in groups])}
    changes = {"answers merged": sum(tally.merged for tally in tallies.values())}
    card = new_card(made_from, inputs, counted, changes, _tables(tallies))
    return write_groups(folder, groups, card, overwrite=replaced)


def _answers(group: Group) -> list[Any]:
    return [group.task.id, [[one.raw, one.count, *filter(None, [one.others])] for one in group.candidates]]


def _tables(tallies: dict[str, ModelTally]) -> dict[str, dict[str, dict[str, int]]]:
    """For the card: what is wrong, by model and error type."""
    return {"wrong answers of a model": {name: dict(sorted(tally.wrong.items())) for name, tally in tallies.items()}}


def groups_config(config: Config) -> dict[str, Any]:
    """The settings on which the groups depend."""
    found = settings.as_json(config, *_NOT_OF_GROUPS)
    found["models"] = [
        {
            name: value
            for name, value in model.items()
            if name not in _NOT_OF_ANSWERS and value is not None and (value or name != "served_as")
        }
        for model in found["models"]
    ]
    return found


def may_replace(folder: Path, made_from: dict[str, Any], overwrite: bool) -> bool:
    """Whether groups that are there may be replaced. Looked at before anything is asked: answers cost."""
    if not is_complete(folder):
        return overwrite
    difference = first_difference(read_card(folder).config, plain(made_from))
    if difference and not overwrite:
        where, there, asked = difference
        raise ConfigError(
            f"{folder}: was made with {where}={there}, now {asked}; say overwrite=true or name another output"
        )
    return True


def report(output: Path, entries: Sequence[Entry], tallies: dict[str, ModelTally], card: Card) -> None:
    write_file(
        output / SUMMARY, json.dumps({name: tally.to_json() for name, tally in tallies.items()}, indent=1) + "\n"
    )
    rows = [
        ("model", "answers", "failed", "right", "wrong", "valid", "unparsable", "empty", "tokens each", "seconds each")
    ]
    for name, tally in tallies.items():
        each = max(tally.answers, 1)
        counts = (tally.answers, tally.failed, tally.right, sum(tally.wrong.values()), tally.valid, tally.unparsable)
        means = (f"{tally.tokens / each:,.1f}", f"{tally.seconds / each:,.2f}")
        rows.append((name, *(f"{count:,}" for count in (*counts, tally.empty)), *means))
    print("\n".join(aligned(rows)))
    for entry in entries:
        tally = tallies[entry.name]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in tally.wrong.most_common())
        print(f"{entry.name}: wrong: {kinds or 'none'}")
        for reason, count in tally.reasons.most_common(3):
            print(f"{entry.name}: failed: {count:,} {reason}")
        for told in warnings(entry.name, tally, entry.options.temperature):
            print(told, file=sys.stderr)
    print(f"{output / GROUPS}: {summary(card)}")
