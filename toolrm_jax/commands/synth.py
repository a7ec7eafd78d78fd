"""Ask models for answers to contexts: OUTPUT/journal.sqlite, then OUTPUT/groups with a verdict on each answer.

Models answer over HTTP (SGLang, or any server with OpenAI's interface), in this process, or from files of recorded
answers. Every finished request is on disk before it counts: a run that was stopped or killed goes on with the same
command, and asks nothing twice. `--dry-run` prints the plan; `toolrm synth status path=OUTPUT` looks at a journal.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import chz

from toolrm_jax.commands import settings
from toolrm_jax.commands.prepare_units import Spec
from toolrm_jax.commands.synth_groups import GROUPS, groups_config, may_replace, report, write_answers
from toolrm_jax.commands.synth_local import LimitsConfig
from toolrm_jax.commands.synth_models import IN_PROCESS, Entry, ModelConfig, is_at_hand, open_entry
from toolrm_jax.commands.synth_table import EVERY_S, Progress, Table, aligned
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.groups import trim_tools
from toolrm_jax.seeding import seeded
from toolrm_jax.sources import Drops
from toolrm_jax.synth.grade import ModelTally
from toolrm_jax.synth.journal import Journal, Lookup, read_only
from toolrm_jax.synth.protocol import Sampling
from toolrm_jax.synth.servers import Patience
from toolrm_jax.toolcalls.types import Task
from toolrm_jax.train.signals import STOPPED, stop_requests

BASE = "synth_small"
JOURNAL, MODELS = "journal.sqlite", "models"


@chz.chz
class SamplingConfig:
    """How tokens are drawn: `toolrm_jax.synth.protocol.Sampling`."""

    temperature: float = 1.0  # 0 takes the likeliest token always
    top_p: float = 0.95  # the likeliest tokens that make this share of the probability
    top_k: int = 0  # the likeliest tokens, so many; 0: all
    min_p: float = 0.0  # tokens at least so likely, as a share of the likeliest one's probability
    max_tokens: int = 512  # of an answer
    thinking: bool | None = None  # whether the template opens a block of reasoning; None: as it does by itself
    logprobs: bool = False  # keep each token's log-probability in the journal

    def sampling(self, seed: int) -> Sampling:
        """The stage's own type, which checks the values."""
        return Sampling(**settings.as_json(self), seed=seed)


@chz.chz
class PatienceConfig:
    """How long servers are waited for: `toolrm_jax.synth.servers.Patience`."""

    timeout_s: float = 600.0  # from sending a request to its last byte
    attempts: int = 6  # of one request before it is recorded as failed
    longest_s: float = 60.0  # between two tries of a request, or of a server that is set aside
    silence_s: float = 1800.0  # without an answer from any server of a model, after which the run ends
    grace_s: float = 10.0  # for requests under way when the run is told to stop

    def patience(self) -> Patience:
        """The stage's own type, which checks the values."""
        return Patience(**settings.as_json(self))


@chz.chz
class Config:
    """Which models answer which contexts."""

    output: str  # the folder that gets the journal and groups/
    models: tuple[ModelConfig, ...]  # who answers; settings of one are models.0.name and so on
    sources: tuple[str, ...] = ("sgd", "seal_tools", "bfcl/live")  # of contexts: NAME, NAME/CATEGORY, or NAME=PATH
    folder: str = "~/.cache/toolrm-data"  # where a source without a path has a folder of its name
    contexts: int | None = None  # of each source, a seeded sample; None: all
    max_tools: int | None = None  # tools on offer, at most; the reference's always stay; None: all
    sampling: SamplingConfig = chz.field(default_factory=SamplingConfig)
    patience: PatienceConfig = chz.field(default_factory=PatienceConfig)
    retry_failed: bool = False  # ask again for what an earlier run recorded as failed
    limits: LimitsConfig = chz.field(default_factory=LimitsConfig)
    seed: int = 0  # of every random choice
    dry_run: bool = False  # print the plan alone


def run(config: Config, overwrite: bool = False) -> int:
    """Plan, ask, grade; 75 where a signal stopped it."""
    output = Path(config.output)
    made_from = groups_config(config)
    replaced = may_replace(output / GROUPS, made_from, overwrite)
    tasks, drops = read_tasks(config)
    journal_file = output / JOURNAL
    if config.dry_run:
        _dry_run(config, tasks, journal_file)
        return 0
    entries = _open(config, tasks, output / MODELS)
    progress: list[Progress] = []
    with Journal(journal_file, lambda plan, outcome: progress[0].add(plan, outcome)) as journal:
        plans = [journal.plan(entry.identity, entry.options, entry.requests) for entry in entries]
        if config.retry_failed:
            print(f"asked again: {sum(map(journal.forget_failures, plans)):,} requests that had failed")
        done = [_done(entry, journal) for entry in entries]
        _print_plan(tasks, entries, [sum(some) for some in done])
        progress.append(Progress(entries, plans, sum(found for found, _ in done)))
        settings.save(config, output, "dry_run")
        if not _ask_all(entries, plans, journal, progress[0]):
            finished, total = progress[0].finished, progress[0].total
            print(f"stopped: {finished:,} of {total:,} requests are done; go on with the same command")
            return STOPPED
        tallies = {entry.name: ModelTally() for entry in entries}
        card = write_answers(output / GROUPS, made_from, drops, tasks, entries, journal, tallies, replaced)
    report(output, entries, tallies, card)
    return 0


def read_tasks(config: Config) -> tuple[list[Task], Counter[str]]:
    """The contexts of all sources with their references, in the order of sources and ids, and what was left out."""
    if config.contexts is not None and config.contexts < 1:
        raise ConfigError(f"contexts={config.contexts}: give at least 1, or None for all")
    root = Path(config.folder).expanduser()
    tasks: dict[str, Task] = {}
    drops: Counter[str] = Counter()
    for text in config.sources:
        spec, reading = Spec.parse(text), Drops()
        read = (task for task, _ in spec.read(spec.place(root), reading) if task.reference is not None)
        some = _sample(read, config)
        if not some:
            raise DataError(f"sources: {text} has no task with a reference; name another")
        for task in some:
            if task.id in tasks:
                raise DataError(f"sources: task {task.id} comes twice; name each source once")
            tasks[task.id] = task
        drops.update(reading.counts)
    return list(tasks.values()), drops


def _sample(tasks: Iterator[Task], config: Config) -> list[Task]:
    if config.contexts is not None:
        tasks = heapq.nsmallest(
            config.contexts, tasks, key=lambda task: seeded(config.seed, "sample of contexts", task.id).random()
        )
    some = sorted(tasks, key=lambda task: task.id)
    return [trim_tools(task, config.max_tools, config.seed) for task in some] if config.max_tools else some


def _open(config: Config, tasks: Sequence[Task], scratch: Path | None) -> list[Entry]:
    """The entries. scratch: as `open_entry` says; a dry run brings no weights into another form."""
    names = [model.name for model in config.models]
    if not names:
        raise ConfigError("models: name at least one, as models.0.name=…")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"models: {twice[0]!r} comes twice; give every entry a name of its own")
    config.limits.check()
    options, patience = config.sampling.sampling(config.seed), config.patience.patience()
    return [
        open_entry(
            model,
            tasks,
            options,
            patience,
            config.limits,
            config.seed,
            scratch if not config.dry_run or is_at_hand(model, scratch) else None,
        )
        for model in config.models
    ]


def _dry_run(config: Config, tasks: Sequence[Task], journal_file: Path) -> None:
    """Print the plan; nothing is written, also not where a run is under way."""
    if not journal_file.exists():
        entries = _open(config, tasks, None)
        _print_plan(tasks, entries, [0] * len(entries))
        return
    entries = _open(config, tasks, journal_file.parent / MODELS)
    with read_only(journal_file) as journal:
        _print_plan(tasks, entries, [sum(_done(entry, journal)) for entry in entries])


def _print_plan(tasks: Sequence[Task], entries: Sequence[Entry], done: Sequence[int]) -> None:
    sources = Counter(task.source for task in tasks)
    print(f"{len(tasks):,} contexts: {', '.join(f'{count:,} of {name}' for name, count in sources.items())}")
    rows = [("model", "who answers", "contexts", "samples", "requests", "done")]
    for entry, some in zip(entries, done):
        figures = (len(entry.tasks), entry.samples, entry.requests, some)
        rows.append((entry.name, entry.where, *(f"{figure:,}" for figure in figures)))
    print("\n".join(aligned(rows)))
    total = sum(entry.requests for entry in entries)
    print(f"{total:,} requests, {total - sum(done):,} of them still to be asked")


def _done(entry: Entry, journal: Lookup) -> tuple[int, int]:
    """Requests that have an outcome, and those of contexts that cannot be written; nothing of what is all new."""
    found = unwritable = 0
    if not entry.identity or journal.is_new(entry.identity, entry.options):
        return 0, 0
    for task in entry.tasks:
        if (asked := entry.requests_of(task)) is None:
            unwritable += entry.samples
        else:
            found += entry.samples - len(journal.missing(asked[1]))
    return found, unwritable


def _ask_all(entries: Sequence[Entry], plans: Sequence[int], journal: Journal, progress: Progress) -> bool:
    """Have all entries answer, servers side by side, models in this process one after the other.

    False where a signal ended it. Raises what the first sampler that failed raised, once the others have stopped.
    """
    faults: list[BaseException] = []
    with stop_requests() as request:

        def stopped() -> bool:
            return request.asked or bool(faults)

        def work(some: Sequence[tuple[Entry, int]]) -> None:
            try:
                for entry, plan in some:
                    entry.ask(journal, plan, progress.pass_over, stopped)
            except BaseException as fault:
                faults.append(fault)

        pairs = list(zip(entries, plans))
        local = [pair for pair in pairs if pair[0].where == IN_PROCESS]
        parts = [[pair] for pair in pairs if pair[0].where != IN_PROCESS] + ([local] if local else [])
        threads = [threading.Thread(target=work, args=(part,), daemon=True) for part in parts]
        table = Table(progress)
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(EVERY_S / 4)
            table.draw()
        journal.settle()
        table.draw(last=True)
        if faults:
            raise faults[0]
        return not request.asked or progress.finished == progress.total
