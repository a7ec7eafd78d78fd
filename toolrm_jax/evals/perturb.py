"""Our own noise on any groups: the same questions with tools renamed, reordered, padded, or their descriptions cut.

Nothing that decides the answer is touched, so a judge should score as before. Reported for each kind: accuracy, how
many pairs flip (won before and not after, or the other way round), and how far the right answer's score moves, in
standard deviations of the scores without noise. Flips and shifts are of answers that were read in both forms.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from toolrm_jax.errors import DataError
from toolrm_jax.evals.benchmark import OVERALL, Benchmark, Measure, Metric, bootstrap, credits, drawn, share
from toolrm_jax.evals.metrics import outcomes
from toolrm_jax.evals.samples import read_any
from toolrm_jax.evals.scores import Score, Scores
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.obfuscate import obfuscate
from toolrm_jax.toolcalls.types import Context, Group, Tool

PLAIN, RENAMED, REORDERED, PADDED, CUT = "plain", "renamed", "reordered", "padded", "descriptions cut"
PADDING = 4
"""Unrelated tools that are added, from the groups at hand."""
FLIPS, SHIFT = "pairs that flip", "shift of the right answer's score"
_SEPARATOR = " | "


def read(path: Path | str, seed: int = 0, count: int | None = None) -> Benchmark:
    """A seeded sample of groups of a folder or pair file (None: all), each plain and under every kind of noise."""
    return perturbed(drawn(read_any(path), count, seed), seed)


def perturbed(groups: Sequence[Group], seed: int = 0) -> Benchmark:
    """Every group in five forms. A form that a group cannot take is left out, and counted."""
    pool = {tool.name: tool for group in groups for tool in group.task.context.tools}
    kinds: dict[str, Callable[[Group], Group]] = {
        PLAIN: lambda group: group,
        RENAMED: lambda group: _renamed(group, seed),
        REORDERED: lambda group: _reordered(group, seed),
        PADDED: lambda group: _padded(group, list(pool.values()), seed),
        CUT: _cut,
    }
    made, refused = [], 0
    seen: Counter[str] = Counter()
    names = []
    for id in (group.task.id for group in groups):
        seen[id] += 1
        names.append(id if seen[id] == 1 else f"{id}#{seen[id]}")  # some files ask one question with several pairs
    for kind, change in kinds.items():
        for name, group in zip(names, groups):
            try:
                made.append(_named(change(group), name, kind))
            except DataError:
                refused += 1
    note = "The same questions under noise that leaves the right answer as it was."
    facts = (("groups", f"{len(groups):,}"), ("forms that a group could not take", f"{refused:,}"))
    return Benchmark("perturbed", tuple(made), note, METRIC, facts=facts)


def measures(groups: Sequence[Group], scores: Scores) -> tuple[Measure, ...]:
    """Accuracy, flips and shift of every kind."""
    parts: dict[str, dict[str, tuple[Group, Sequence[Score]]]] = {}
    for group, row in zip(groups, scores, strict=True):
        name, _, kind = group.task.id.rpartition(_SEPARATOR)
        parts.setdefault(kind, {})[name] = (group, row)
    plain = parts[PLAIN]
    spread = float(np.std([score for _, row in plain.values() for score in row if score is not None] or [0.0])) or 1.0
    found = []
    for kind, forms in parts.items():
        won = credits([g for g, _ in forms.values()], outcomes(*map(list, zip(*forms.values()))))
        found.append(dataclasses.replace(share(won, kind), part=OVERALL))
    for kind, forms in parts.items():
        if kind == PLAIN:
            continue
        flips, shifts = [], []
        for name, (group, row) in forms.items():
            before = plain[name][1]
            flips += _flips(group, before, row)
            shifts += [
                (b - a) / spread
                for a, b, v in zip(before, row, group.verdicts)
                if v.right and a is not None and b is not None
            ]
        found.append(bootstrap(np.array(flips), kind, "flips", FLIPS))
        found.append(bootstrap(np.array(shifts), kind, "shift", SHIFT, "standard deviations"))
    return tuple(found)


METRIC = Metric("accuracy under noise", measures, headline=lambda measure: measure.part == OVERALL)


def _flips(group: Group, before: Sequence[Score], after: Sequence[Score]) -> list[float]:
    """The share of the group's pairs that flip, alone in its list; nothing where no pair was read in both forms."""
    both = zip(outcomes([group], [before]), outcomes([group], [after]))
    pairs = [one.won != two.won for one, two in both if one.gap is not None and two.gap is not None]
    return [sum(pairs) / len(pairs)] if pairs else []


def _named(group: Group, id: str, kind: str) -> Group:
    return dataclasses.replace(group, task=dataclasses.replace(group.task, id=f"{id}{_SEPARATOR}{kind}"))


def _with_tools(group: Group, tools: Sequence[Tool]) -> Group:
    context = Context(tuple(tools), group.task.context.messages)
    return dataclasses.replace(group, task=dataclasses.replace(group.task, context=context))


def _renamed(group: Group, seed: int) -> Group:
    task, renaming = obfuscate(group.task, seed, group.candidates)
    return dataclasses.replace(
        group, task=task, candidates=tuple(renaming.apply_candidate(candidate) for candidate in group.candidates)
    )


def _reordered(group: Group, seed: int) -> Group:
    tools = list(group.task.context.tools)
    if len(tools) < 2:
        raise DataError(f"{group.task.id}: one tool has no other order")
    order = tools
    rng = seeded(seed, "order of tools", group.task.id)
    while order == tools:
        order = rng.sample(tools, len(tools))
    return _with_tools(group, order)


def _padded(group: Group, pool: Sequence[Tool], seed: int) -> Group:
    own = {tool.name for tool in group.task.context.tools}
    called = {call.name for candidate in group.candidates for call in candidate.calls}
    others = [tool for tool in pool if tool.name not in own | called]
    if not others:
        raise DataError(f"{group.task.id}: no other tools to add")
    rng = seeded(seed, "padding", group.task.id)
    tools = [*group.task.context.tools, *rng.sample(others, min(PADDING, len(others)))]
    return _with_tools(group, rng.sample(tools, len(tools)))


def _cut(group: Group) -> Group:
    tools = [Tool(tool.name, "", _bare(tool.parameters)) for tool in group.task.context.tools]
    return _with_tools(group, tools)


def _bare(schema: object, names: bool = False) -> object:
    """The schema without descriptions; a parameter that is called `description` stays (`names`: keys are names)."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _bare(value, key == "properties" and not names)
        for key, value in schema.items()
        if names or key != "description" or not isinstance(value, str)
    }
