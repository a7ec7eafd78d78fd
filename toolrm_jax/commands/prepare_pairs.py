"""Preference data of many sources after one of the two papers: OUTPUT/groups, OUTPUT/train and OUTPUT/held_out.

`groups` holds every group that was made, `train` and `held_out` those that were drawn, with the pairs drawn of them
(prepare_draw.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import chz

from toolrm_jax.commands import settings
from toolrm_jax.commands.prepare_draw import draw, listed, write_card
from toolrm_jax.commands.prepare_units import (
    Spec,
    Unit,
    Work,
    files_hash,
    fingerprint,
    note_path,
    plan,
    run_unit,
    save_answers,
)
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import CARD, is_complete, is_done, write_file
from toolrm_jax.preferences.card import Shard, added, card_hash, new_card, read_card
from toolrm_jax.preferences.contamination import KINDS, Benchmarks, check_kinds
from toolrm_jax.preferences.index import read_index
from toolrm_jax.preferences.makers import parse_makers
from toolrm_jax.preferences.recipes import Balanced, Outcome
from toolrm_jax.preferences.resume import finish, work_folder
from toolrm_jax.preferences.select import HELD_OUT, TRAIN, Indexes, Selection, select_balanced, select_mixed
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.preferences.stage import Job, index_paths
from toolrm_jax.preferences.workers import run_all
from toolrm_jax.sources import SOURCES, Drops
from toolrm_jax.sources.bfcl_answers import read_answers, result_files
from toolrm_jax.toolcalls.types import Candidate

REMOVED = "removed.jsonl"
PUBLIC = ("sgd", "star", "taskmaster", "taskmaster+rated", "seal_tools", "apibank", "bfcl/live")
"""Sources that can be had without a hub and may train."""
ANSWERS = "bfcl_outputs"
"""The source that published answers come from, for its licence."""
TESTED_ON = ("bfcl/simple", "bfcl/multiple", "bfcl/parallel", "bfcl/irrelevance")
"""The benchmarks that the training data are kept apart from: FC-RewardBench is made of BFCL's questions."""


@chz.chz
class DataConfig:
    """What is read."""

    sources: tuple[str, ...] = PUBLIC  # NAME, NAME/CATEGORY (what its categories begin with), NAME+rated, or NAME=PATH
    folder: str = "~/.cache/toolrm-data"  # where a source without a path has a folder of its name
    answers: str | None = None  # models' answers: groups of `toolrm synth`, or BFCL result files; below `folder`
    makers: str = "permissive"  # whose answers: of permissive or open weights, or all
    any_licence: bool = False  # also sources, and published answers, that may not train by default
    benchmarks: tuple[str, ...] = TESTED_ON  # sources, written likewise, that nothing may be shared with
    shared: tuple[str, ...] = KINDS  # what may not be shared with them
    similarity: float | None = 0.85  # of users' words, from which two tasks with one answer are the same; None: never
    strict: bool = False  # a fault in one item stops everything, else it is a counted drop


@chz.chz
class RunConfig:
    """How the work is done: nothing that is written depends on it, but for the number of shards."""

    workers: int = 1  # processes
    cluster: bool = False  # Ray's workers instead, which see the same files
    shard_tasks: int = 2048  # tasks that make one shard, all of them in memory at once
    shard_groups: int = 2048  # groups in a shard of train and held_out


@chz.chz
class OutcomeConfig:
    """Pairs after paper A (Outcome Reward Models for Tool-Calling LLMs): the reference over some wrong answers."""

    output: str  # the folder that gets groups/, train/ and held_out/
    data: DataConfig = chz.field(default_factory=DataConfig)
    wrong: int = 3  # distinct wrong answers of a task, at most
    mistakes: int = 3  # wrong answers made by rules, to choose from
    turns: int = 1  # of these, at most so many that only a conversation has room for
    obfuscated: bool | float = True  # random names for tools and parameters: in all groups, none, or a share of them
    no_call: float = 1.0  # share of the tasks where no call is right that are looked at
    pairs: int = 180_000  # to draw, at most
    mix: tuple[int, ...] = (85, 85, 10)  # shares of single-turn, multi-turn and no-call tasks
    held_out: int = 3_000  # of `pairs`, by whole conversations; fewer in proportion
    epochs: int = 1  # of training, each with wrong answers and names of its own; `pairs` are of each
    seed: int = 0  # of every random choice
    run: RunConfig = chz.field(default_factory=RunConfig)

    def recipe(self) -> Outcome:
        """How one task becomes a group."""
        makers = parse_makers(self.data.makers, "data.makers")
        return Outcome(self.wrong, self.mistakes, self.turns, self.obfuscated, self.no_call, makers)

    def select(self, indexes: Indexes, pairs: int, held_out: int) -> Selection:
        """Draw pairs from all groups, some of them to be held out."""
        return select_mixed(indexes, pairs, self.mix, held_out, self.seed)


@chz.chz
class BalancedConfig:
    """Pairs after paper B (Towards Agentic Tool-Use Reward Modeling): scored answers, balanced over sources."""

    output: str  # the folder that gets groups/, train/ and held_out/
    data: DataConfig = chz.field(default_factory=DataConfig)
    mistakes: int = 4  # wrong answers made by rules, where a task has no real ones
    turns: int = 2  # of these, at most so many that only a conversation has room for
    no_call: float = 1.0  # share of the tasks where no call is right that are looked at
    pairs: int = 30_000  # to draw, at most
    held_out: int = 500  # of `pairs`, by whole conversations; fewer in proportion
    epochs: int = 1  # of training, each with wrong answers and names of its own; `pairs` are of each
    seed: int = 0  # of every random choice
    run: RunConfig = chz.field(default_factory=RunConfig)

    def recipe(self) -> Balanced:
        """How one task becomes a group."""
        return Balanced(self.mistakes, self.turns, self.no_call, parse_makers(self.data.makers, "data.makers"))

    def select(self, indexes: Indexes, pairs: int, held_out: int) -> Selection:
        """Draw pairs from all groups, some of them to be held out."""
        return select_balanced(indexes, pairs, held_out, self.seed)


PairsConfig = OutcomeConfig | BalancedConfig
_ONLY_DRAWING = ("pairs", "mix", "held_out")
"""Settings of which `groups` does not depend."""
_SINCE = {"epochs": 1}
"""Settings that a card names only where they are not this: older data have none, and are the same data."""


def prepare_pairs(config: PairsConfig, overwrite: bool = False) -> list[Path]:
    """Make what is not there yet; returns the folders: groups, train and, where anything is in it, held_out."""
    check_epochs(config.epochs)
    _check_pairs(config)
    output = Path(config.output)
    root = Path(config.data.folder).expanduser()
    specs = _specs(config.data)
    made_from = _made_from(config)
    inputs = _inputs(config.data, specs, root)
    groups = output / "groups"
    about = {name: value for name, value in made_from.items() if name not in _ONLY_DRAWING}
    if not is_done(groups, about, inputs, overwrite):
        _make_groups(config, specs, root, groups, about, inputs, overwrite)
    drawn_from = {"groups": card_hash(read_card(groups))}
    if not is_done(output / TRAIN, made_from | {"side": TRAIN}, drawn_from, overwrite):
        draw(config, groups, made_from, drawn_from, overwrite)
    return [groups, *(output / side for side in (TRAIN, HELD_OUT) if (output / side / CARD).is_file())]


def _check_pairs(config: PairsConfig) -> None:
    """Raises ConfigError for numbers of pairs of which none would be left to train on."""
    if config.pairs < 1:
        raise ConfigError(f"pairs={config.pairs}: give at least 1")
    if not 0 <= config.held_out < config.pairs:
        raise ConfigError(
            f"held_out={config.held_out}: is a part of pairs={config.pairs}; give 0 to {config.pairs - 1}"
        )


def _made_from(config: PairsConfig) -> dict[str, Any]:
    """The settings on which what is written depends."""
    found = settings.as_json(config, "output", "run") | {"recipe": type(config).__name__.removesuffix("Config").lower()}
    found["data"] = {name: value for name, value in found["data"].items() if name != "folder"}
    found = {name: value for name, value in found.items() if name not in _SINCE or _SINCE[name] != value}
    return found | {"shard_tasks": config.run.shard_tasks, "shard_groups": config.run.shard_groups}


def _specs(data: DataConfig) -> list[Spec]:
    specs = [Spec.parse(text) for text in data.sources]
    if not specs:
        raise ConfigError(f"data.sources: name at least one of {', '.join(SOURCES)}")
    check_kinds(data.shared)
    for about in (*(spec.source for spec in specs), *([SOURCES[ANSWERS]] if _published(data) else [])):
        if not about.trains and not data.any_licence:
            raise ConfigError(
                f"{about.name} may not train by default ({about.why_not}); leave it out, or say "
                "data.any_licence=true if you may"
            )
    return specs


def _inputs(data: DataConfig, specs: Sequence[Spec], root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    places: dict[tuple[str, str | None], str] = {}
    for spec in (*specs, *map(Spec.parse, data.benchmarks)):
        if (spec.name, spec.path) not in places:  # a source from two places is two inputs, its categories are one
            again = sum(name == spec.name for name, _ in places)
            places[spec.name, spec.path] = f"{spec.name} {again + 1}" if again else spec.name
            found[places[spec.name, spec.path]] = fingerprint(spec, root)
    if data.answers:
        found["answers"] = files_hash(root / data.answers)
    return found


def _make_groups(
    config: PairsConfig,
    specs: Sequence[Spec],
    root: Path,
    groups: Path,
    about: Mapping[str, Any],
    inputs: Mapping[str, str],
    overwrite: bool,
) -> None:
    """The first stage: all units of all sources, each by whichever worker."""
    work = work_folder(groups, about, inputs, overwrite)
    units = plan(specs, root)
    benchmarks = answers = None
    if config.data.benchmarks and not (benchmarks := work / "benchmarks.json").exists():
        _benchmarks(config.data, root).save(benchmarks)
    if config.data.answers and not (answers := work / "answers.json").exists():
        save_answers(answers, _real_answers(root / config.data.answers, specs))
    seen = str(benchmarks.absolute()) if benchmarks else None
    job = Job(config.recipe(), config.seed, seen, config.data.shared, config.data.strict)
    each = Work(work.absolute(), job, config.run.shard_tasks, answers and answers.absolute(), config.epochs)
    run_all(run_unit, [(each, unit) for unit in units], config.run.workers, config.run.cluster)
    _finish_groups(config, work, groups, units, about, inputs)


def check_epochs(epochs: int) -> None:
    """Raises ConfigError for a number of epochs that is none."""
    if epochs < 1:
        raise ConfigError(f"epochs={epochs}: give at least 1")


def _benchmarks(data: DataConfig, root: Path) -> Benchmarks:
    found = Benchmarks()
    for text in data.benchmarks:
        spec = Spec.parse(text)
        found.add(task for task, _ in spec.read(spec.place(root), Drops()))
    return found


def _published(data: DataConfig) -> bool:
    """Whether answers are taken that others published, not those of a `toolrm synth` of ours."""
    return bool(data.answers) and not is_complete(Path(data.folder).expanduser() / data.answers)


def _real_answers(folder: Path, specs: Sequence[Spec]) -> Iterator[tuple[str, Candidate]]:
    """Those of a folder of groups, or published answers to the BFCL questions of the categories asked for."""
    if is_complete(folder):
        for group in read_groups(folder):
            yield from ((group.task.id, candidate) for candidate in group.candidates)
        return
    wanted = tuple(spec.category for spec in specs if spec.name == "bfcl")
    if not wanted:
        raise ConfigError("data.answers: are answers to BFCL questions; name bfcl among data.sources")
    for file, category in result_files(folder).items():
        if category.startswith(wanted) and file.stem.endswith("_result"):
            yield from ((task, candidate) for task, _, candidate in read_answers(file))


def _finish_groups(
    config: PairsConfig,
    work: Path,
    groups: Path,
    units: Sequence[Unit],
    about: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> None:
    """Gather what the units noted into a card, and give the folder its name."""
    by_epoch = [[read_index(path, "keys").facts for path in index_paths(work, e)] for e in range(config.epochs)]
    facts = [one for some in by_epoch for one in some]
    notes = [json.loads(note_path(work, unit.name).read_bytes()) for unit in units]
    drops = added([*(note["drops"] for note in notes), *(one["drops"] for one in facts)])
    shards = tuple(Shard.from_json(one["shard"]) for one in facts if one["shard"])
    if not shards:
        raise DataError(f"{groups}: no group came of any task; dropped: {listed(drops) or 'nothing'}")
    removed = [one for fact in by_epoch[0] for one in fact["removed"]]
    tasks = Counter({note["source"]: 0 for note in notes})
    left: dict[str, Counter[str]] = {}
    for note in notes:
        tasks[note["source"]] += note["tasks"]
        left.setdefault(note["source"], Counter()).update(note["drops"])
    tables = {
        "tasks read": {name: {"tasks": count} for name, count in sorted(tasks.items())},
        "left out when reading": {name: dict(sorted(some.items())) for name, some in sorted(left.items()) if some},
    }
    card = new_card(about, inputs, drops, added(one["changes"] for one in facts), tables, _sources(units, config))
    write_card(work, card, added(one["counts"] for one in facts), shards)
    write_file(work / REMOVED, "".join(json.dumps(one) + "\n" for one in removed))
    for path in (*work.glob("read-*.json"), work / "benchmarks.json", work / "answers.json"):
        path.unlink(missing_ok=True)
    finish(work, groups)


def _sources(units: Sequence[Unit], config: PairsConfig) -> dict[str, dict[str, str]]:
    found = {}
    used = [unit.spec.source for unit in units]
    for about in (*used, *([SOURCES[ANSWERS]] if _published(config.data) else [])):
        found[about.name] = {"licence": about.licence, "answers by": str(about.answers), "origin": about.origin}
    return found
