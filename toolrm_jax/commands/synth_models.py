"""A model entry of `toolrm synth`: who answers, how contexts are written for it, how its answers are read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chz

from toolrm_jax.commands.backbone import DEFAULT, backbone
from toolrm_jax.commands.prepare_units import files_hash
from toolrm_jax.commands.synth_local import LimitsConfig, LocalSampler, ends
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import file_hash, json_hash
from toolrm_jax.seeding import seeded
from toolrm_jax.synth.grade import OPENAI, Read, reader
from toolrm_jax.synth.http_sampler import HttpSampler
from toolrm_jax.synth.journal import Journal
from toolrm_jax.synth.protocol import STOPPED, Answer, Asked, Prompt, Request, Sampler, Sampling, requests
from toolrm_jax.synth.recorded import RecordedSampler, read_jsonl
from toolrm_jax.synth.servers import Patience, Server
from toolrm_jax.synth.wire import WAYS, chat_prompt
from toolrm_jax.toolcalls.types import Candidate, Context, Task

if TYPE_CHECKING:
    from toolrm_jax.data.chat import Chat

IN_PROCESS, RECORDED = "in process", "recorded"
_WEIGHTS = ("config.json", "*.safetensors")


@chz.chz
class ModelConfig:
    """One model: its name, who serves it, and how it is spoken to."""

    name: str  # of its answers' maker, and to its servers; every entry has its own
    servers: tuple[str, ...] = ()  # addresses, http://HOST:PORT; none: it answers in this process, by JAX
    way: str = "chat"  # into a server: chat (its template and its parser) or generate (ours; SGLang alone has it)
    weights: str = ""  # folder, GGUF file, hub id or smollm2-135m: answers in process; its template serves `generate`
    recorded: str = ""  # answers that are there already: JSON lines, or BFCL's result files
    served_as: str = ""  # what its servers call it, where that is not its name
    format: str = (
        ""  # of calls no server has parsed: hermes, granite, …; openai: none; empty: openai by chat, else hermes
    )
    share: float = 1.0  # of the contexts
    samples: int = 4  # of each context
    temperature: float | None = None  # None: sampling.temperature; 0 for an entry NAME@greedy beside the samples
    at_once: int = 32  # requests that one server may have under way
    together: int | None = None  # samples in one request, at most; None: all by chat, one by generate
    key_variable: str = ""  # environment variable with the servers' key


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A model entry, opened. `where` says in a word who answers.

    identity: what stands for the model in the keys of requests; other weights under the same name are another model.
    Empty: the entry is only to be planned with. by_task: whether tasks with equal contexts have answers of their own.
    """

    name: str
    identity: str
    where: str
    sampler: Sampler
    options: Sampling
    samples: int
    tasks: Sequence[Task]
    write: Callable[[Context], Prompt]
    read: Read
    by_task: bool = False

    @property
    def requests(self) -> int:
        """How many it asks in all."""
        return len(self.tasks) * self.samples

    @property
    def servers(self) -> tuple[Server, ...]:
        """Its servers' state, none where it has none."""
        return self.sampler.servers if isinstance(self.sampler, HttpSampler) else ()

    def requests_of(self, task: Task) -> tuple[Prompt, tuple[Request, ...]] | None:
        """The prompt and all requests of a task; None where its template cannot write the context."""
        try:
            prompt = self.write(task.context)
        except DataError:
            return None
        model = f"{self.identity}\0{task.id}" if self.by_task else self.identity
        return prompt, requests(prompt, model, self.options, range(self.samples))

    def asked(self, journal: Journal, passed_over: Callable[[int, int], None]) -> Iterator[Asked]:
        """Contexts with their requests that have no outcome yet, one after the other.

        passed_over: told how many requests are never asked, since their context cannot be written or those of an
        earlier task are the same, and how many of these had no outcome before the first of them was asked.
        """
        seen: dict[str, int] = {}
        for task in self.tasks:
            if (found := self.requests_of(task)) is None:
                passed_over(self.samples, self.samples)
                continue
            prompt, every = found
            if (first := every[0].key) in seen:
                passed_over(self.samples, seen[first])
                continue
            missing = journal.missing(every)
            seen[first] = len(missing)
            if missing:
                yield Asked(task.id, prompt, missing)

    def ask(self, journal: Journal, plan: int, passed_over: Callable[[int], None], stopped: Callable[[], bool]) -> None:
        """Have the sampler answer what has no outcome. passed_over: told how many requests need no asking."""
        if isinstance(self.sampler, HttpSampler):
            self.sampler.answered_before = journal.has_answers(plan)
        asked = self.requests

        def count(requests: int, missing: int) -> None:
            nonlocal asked
            asked -= requests
            passed_over(missing)

        self.sampler.run(self.asked(journal, count), self.options, partial(journal.record, plan), stopped)
        journal.plan(self.identity, self.options, asked)


def open_entry(
    config: ModelConfig,
    tasks: Sequence[Task],
    options: Sampling,
    patience: Patience,
    limits: LimitsConfig,
    seed: int,
    scratch: Path | None,
) -> Entry:
    """Open an entry for its share of the tasks. Raises ConfigError, or ModelError where a model cannot be opened.

    scratch: where weights of other forms are brought into a folder. None: the entry is only to be counted with, so no
    weights are looked for, and it can ask nothing.
    """
    _check(config)
    if config.temperature is not None:
        options = dataclasses.replace(options, temperature=config.temperature)
    by_chat = bool(config.servers) and config.way == "chat"
    planned = Entry(
        name=config.name,
        identity="",
        where=IN_PROCESS,
        sampler=RecordedSampler({}),
        options=options,
        samples=config.samples,
        tasks=[task for task in tasks if _takes(config, task, seed)],
        write=chat_prompt,
        read=reader(config.format or (OPENAI if by_chat else "hermes")),
    )
    if config.recorded:
        return _recorded(config, planned)
    served = f" [served as {config.served_as}]" if config.served_as not in ("", config.name) else ""
    if config.servers:
        servers = [Server(url, config.at_once) for url in config.servers]
        sampler = HttpSampler(
            config.served_as or config.name, servers, WAYS[config.way](), patience, config.together, _key(config)
        )
        where = f"{config.way} at {len(servers)} server{'s' if len(servers) > 1 else ''}"
        planned = dataclasses.replace(planned, where=where, sampler=sampler)
    if by_chat:
        return dataclasses.replace(planned, identity=f"{config.name}{served}")
    if scratch is None:
        return planned
    from toolrm_jax.data.chat import Chat

    folder = backbone(config.weights, _imported(config, scratch))
    chat = Chat.load(folder)
    identity = f"{config.name}{served}"
    if not config.servers:
        identity = f"{config.name} [weights {_hash_of(folder)}]"
        planned = dataclasses.replace(planned, sampler=LocalSampler(folder, chat, limits))
    stopping = dataclasses.replace(options, stop_ids=ends(folder, chat))
    write = _writer(chat, options.thinking, config.name)
    return dataclasses.replace(planned, identity=identity, options=stopping, write=write)


def is_at_hand(config: ModelConfig, scratch: Path | None) -> bool:
    """Whether the entry can be opened without its weights being brought into another form."""
    if scratch is None or config.recorded:
        return scratch is not None
    return not (config.weights == DEFAULT or config.weights.endswith(".gguf")) or _imported(config, scratch).is_dir()


def _imported(config: ModelConfig, scratch: Path) -> Path:
    return scratch / config.name.replace("/", "--")


def _hash_of(folder: Path) -> str:
    files = sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
    return json_hash([[file.name, file_hash(file)] for file in files])[:12]


def _check(config: ModelConfig) -> None:
    where = f"model {config.name!r}"
    if config.way not in WAYS:
        raise ConfigError(f"{where}: way={config.way}: say {' or '.join(WAYS)}")
    if not 0 < config.share <= 1:
        raise ConfigError(f"{where}: share={config.share}: give more than 0, at most 1")
    if config.samples < 1:
        raise ConfigError(f"{where}: samples={config.samples}: give at least 1")
    if config.recorded and config.servers:
        raise ConfigError(f"{where}: give servers or recorded answers, not both")
    needs_weights = not config.recorded and (not config.servers or config.way == "generate")
    if needs_weights and not config.weights:
        raise ConfigError(f"{where}: give weights=, whose template writes its contexts, or servers with way=chat")


def _takes(config: ModelConfig, task: Task, seed: int) -> bool:
    return config.share == 1 or seeded(seed, f"share of {config.name}", task.id).random() < config.share


def _key(config: ModelConfig) -> str:
    if not config.key_variable:
        return ""
    if not (key := os.environ.get(config.key_variable, "").strip()):
        raise ConfigError(f"model {config.name!r}: the environment variable {config.key_variable} is not set")
    return key


def _writer(chat: Chat, thinking: bool | None, name: str) -> Callable[[Context], Prompt]:
    """Token ids by the model's template. Raises ConfigError where `thinking` is set and it knows nothing of that."""
    if thinking is not None and "enable_thinking" not in chat.template.source:
        raise ConfigError(f"sampling.thinking: the template of {name} has no block of reasoning to open or close")
    return lambda context: Prompt(ids=tuple(chat.prompt_ids(context, thinking)))


def _recorded(config: ModelConfig, planned: Entry) -> Entry:
    path = Path(config.recorded).expanduser()
    identity = f"{config.name} [recorded {files_hash(path)[:12]}]"
    planned = dataclasses.replace(planned, identity=identity, where=RECORDED, by_task=True)
    if path.suffix == ".jsonl":
        return dataclasses.replace(planned, sampler=RecordedSampler(read_jsonl(path)))
    from toolrm_jax.sources.bfcl_answers import read_answers

    wanted = {task.id for task in planned.tasks}
    answers: dict[str, list[Answer]] = {}
    models = set()
    for question, model, candidate in read_answers(path):
        models.add(model)
        if len(models) > 1:
            raise ConfigError(f"model {config.name!r}: recorded={path} holds several models; give each one's folder")
        if question in wanted:
            message: dict[str, Any] = {"candidate": candidate.to_json()}
            answers.setdefault(question, []).append(Answer(candidate.raw or "", STOPPED, message=message))
    return dataclasses.replace(planned, sampler=RecordedSampler(answers), read=_read_bfcl)


def _read_bfcl(task: Task, answer: Answer) -> Candidate:
    """BFCL's result files are decoded as they are read: how depends on the question's category."""
    return Candidate.from_json(answer.message["candidate"])
