"""Turn tasks into groups of right and wrong answers: OUTPUT/train and OUTPUT/held_out.

Without config=, tasks of one source, split by category; training tasks that share a reference function or the question
with any held-out task are left out and counted. With config=data/outcome or config=data/balanced, pairs from all
sources after one of the two papers; `toolrm prepare config=data/outcome --help` lists the settings of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import chz

from toolrm_jax import sources
from toolrm_jax.commands import settings
from toolrm_jax.commands.prepare_pairs import ANSWERS, BalancedConfig, OutcomeConfig, check_epochs, prepare_pairs
from toolrm_jax.commands.prepare_units import files_hash
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import is_done
from toolrm_jax.preferences.card import Card, new_card, read_card
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.preferences.makers import REFUSED, may_train, parse_makers
from toolrm_jax.preferences.shards import fingerprint, write_groups
from toolrm_jax.preferences.split import without_overlap
from toolrm_jax.seeding import seeded
from toolrm_jax.sources.bfcl_outputs import answers_by_task
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Candidate, Task

BASE = None
OVERLAP = "shares a function or question with the held-out side"
OVER_LIMIT = "over the limit"
NO_CALL = "no call is right, beyond their share"
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance")
NON_LIVE = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")


@chz.chz
class RecipeConfig:
    """How a group is put together: `toolrm_jax.preferences.groups.Recipe`."""

    right: int = 1  # right answers, at most
    mistakes: int = 3  # wrong answers made by rules
    real_right: int = 1  # right answers of real models, at most
    real_wrong: int = 3  # wrong answers of real models, at most
    joined: float = 0.4  # share of the tasks with calls that stand joined with another one
    max_tools: int = 8  # tools on offer; the reference's always stay
    neighbours: int = 3  # other tasks whose tools may lend names and values to mistakes
    max_characters: int | None = None  # of a group's text; longer ones lose answers, then are left out; None: no limit

    def recipe(self) -> Recipe:
        """The stage's own type, which checks the values."""
        return Recipe(**settings.as_json(self))


@chz.chz
class SideConfig:
    """One side of the split: which tasks, how many, and how their groups are made."""

    categories: tuple[str, ...]  # categories of the source
    max_tasks: int | None = None  # a seeded sample of so many; None: all
    no_call: float = 1.0  # tasks where no call is right, as a share of the others, at most
    answers: str | None = None  # models' published answers to BFCL's questions, to stand beside the made ones: a path
    makers: str = "permissive"  # whose of these: of models with permissive or open weights, or all
    recipe: RecipeConfig = chz.field(default_factory=RecipeConfig)


def _held_out() -> SideConfig:
    return SideConfig(categories=NON_LIVE, recipe=RecipeConfig(joined=0.0))


@chz.chz
class Config:
    """Tasks of one source, split by category."""

    output: str = "runs/groups"  # the folder that gets train/ and held_out/
    source: str = "bfcl"  # a name known to toolrm_jax.sources
    path: str | None = None  # the source's files; None: where they are usually found
    train: SideConfig = chz.field(default_factory=lambda: SideConfig(categories=LIVE))
    held_out: SideConfig = chz.field(default_factory=_held_out)
    epochs: int = 1  # of training, each with answers of its own
    seed: int = 0  # of every random choice
    any_licence: bool = False  # also take published answers, whose licence is not stated
    strict: bool = False  # a fault in one task stops everything, else it is a counted drop


CONFIGS = (Config, OutcomeConfig, BalancedConfig)
"""What `config=` may hold; the first is what there is without."""


def run(config: Config | OutcomeConfig | BalancedConfig, overwrite: bool = False) -> int:
    """Prepare, and say what the folders hold."""
    if isinstance(config, Config):
        prepare(config, overwrite)
        folders = [Path(config.output) / side for side in ("train", "held_out")]
    else:
        folders = prepare_pairs(config, overwrite)
    # Not where it is written nor by how many workers: whoever makes the same data has the same files, this one too.
    settings.save(config, Path(config.output), "output", "run.workers", "run.cluster")
    for folder in folders:
        print(f"{folder}: {summary(read_card(folder))}")
    return 0


def prepare(config: Config, overwrite: bool = False) -> None:
    """Write both folders, unless they are there from the same config and tasks."""
    check_epochs(config.epochs)
    for name in ("train", "held_out"):
        _check_answers(config, f"{name}.answers", getattr(config, name))
    tasks = list(sources.read(config.source, config.path))
    held_out = _of_categories(tasks, config.held_out.categories, "held_out.categories")
    train, overlapping = without_overlap(_of_categories(tasks, config.train.categories, "train.categories"), held_out)
    _side(config, "train", train, {OVERLAP: len(overlapping)}, overwrite)
    _side(config, "held_out", held_out, {}, overwrite)


def summary(card: Card) -> str:
    """A card in one line."""
    verdicts = card.counts.get("verdict", {})
    dropped = ", ".join(f"{count} {reason}" for reason, count in card.drops.items() if count)
    text = f"{card.groups:,} groups, {verdicts.get('right', 0):,} right and {verdicts.get('wrong', 0):,} wrong answers"
    return f"{text}; left out: {dropped}" if dropped else text


def _side(config: Config, name: str, tasks: Sequence[Task], drops: dict[str, int], overwrite: bool) -> None:
    side: SideConfig = getattr(config, name)
    folder = Path(config.output) / name
    made_from = settings.as_json(side) | {"side": name, "seed": config.seed, "strict": config.strict}
    epochs = config.epochs if name == "train" else 1
    if epochs > 1:  # what is made for one epoch does not say so, as before there were more
        made_from["epochs"] = epochs
    inputs = {"tasks": fingerprint(tasks)}
    if side.answers:
        inputs["answers"] = files_hash(Path(side.answers))
    if is_done(folder, made_from, inputs, overwrite):
        return
    lost = Drops(strict=config.strict)
    answers, refused = _answers(side, lost)
    fewer = fewer_without_call(tasks, side.no_call, config.seed)
    kept = _sample(fewer, side.max_tasks, config.seed)
    made = [make_groups(kept, side.recipe.recipe(), config.seed, answers, config.strict, e) for e in range(epochs)]
    limits = {NO_CALL: len(tasks) - len(fewer), OVER_LIMIT: len(fewer) - len(kept)}
    dropped = sum((Counter(one.drops) for one in made), Counter(drops) + Counter(limits) + lost.counts)
    changes = sum((Counter(one.changes) for one in made), Counter({REFUSED: refused} if refused else {}))
    groups = (group for one in made for group in one.groups)
    write_groups(folder, groups, new_card(made_from, inputs, dropped, changes), overwrite=overwrite)


def _check_answers(config: Config, name: str, side: SideConfig) -> None:
    """Raise ConfigError for published answers that are not there, answer no task of the source, or may not train."""
    parse_makers(side.makers, f"{name.removesuffix('answers')}makers")
    if not side.answers:
        return
    if config.source != "bfcl":
        raise ConfigError(f"{name}: are answers to BFCL's questions; leave it out, or say source=bfcl")
    about = sources.SOURCES[ANSWERS]
    if not about.trains and not config.any_licence:
        raise ConfigError(
            f"{name}: may not train by default ({about.why_not}); leave it out, or say any_licence=true if you may"
        )
    if not Path(side.answers).exists():
        raise DataError(f"{name}: no such file or folder {side.answers}; name BFCL's result files")


def _answers(side: SideConfig, drops: Drops) -> tuple[dict[str, list[Candidate]], int]:
    """Published answers that may train, by task, and how many may not."""
    if not side.answers:
        return {}, 0
    found = answers_by_task(Path(side.answers), drops)
    makers = parse_makers(side.makers, "makers")
    kept = {task: [one for one in answers if may_train(one.maker, makers)] for task, answers in found.items()}
    return kept, sum(map(len, found.values())) - sum(map(len, kept.values()))


def _of_categories(tasks: Sequence[Task], categories: Sequence[str], name: str) -> list[Task]:
    known = sorted({task.category for task in tasks})
    if unknown := [category for category in categories if category not in known]:
        raise ConfigError(f"{name}: unknown category {unknown[0]!r}; {settings.nearest(unknown[0], known)}")
    chosen = [task for task in tasks if task.category in categories]
    if not chosen:
        raise DataError(f"{name}: no tasks; name at least one of {', '.join(known) or 'none: the source is empty'}")
    return chosen


def fewer_without_call(tasks: Sequence[Task], share: float, seed: int) -> list[Task]:
    """The tasks with at most `share` as many of those where no call is right as there are others, drawn by seed."""
    if share < 0:
        raise ConfigError(f"no_call={share}: give a share, 0 or more")
    without = [task for task in tasks if task.reference is not None and not task.reference.calls]
    others = [task for task in tasks if task.reference is None or task.reference.calls]
    count = min(len(without), round(share * len(others)))
    return others + (_sample(without, count, seed) if count else [])


def _sample(tasks: Sequence[Task], count: int | None, seed: int) -> list[Task]:
    """A seeded sample that grows by adding: the tasks of a smaller one are among those of a larger one."""
    if count is None:
        return list(tasks)
    if count < 1:
        raise ConfigError(f"max_tasks={count}: give at least 1, or None for all")
    return sorted(tasks, key=lambda task: seeded(seed, "sample of tasks", task.id).random())[:count]
