"""A model entry of `toolrm synth`: who answers, how contexts are written for it, how its answers are read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chz

from toolrm_jax.commands.backbone import backbone
from toolrm_jax.errors import ConfigError, DataError
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
_CLOSED_THOUGHT = "<think>\n\n</think>\n\n"


@chz.chz
class ModelConfig:
    """One model: its name, who serves it, and how it is spoken to."""

    name: str  # of its answers' maker, and to its servers; every entry has its own
    servers: tuple[str, ...] = ()  # addresses, http://HOST:PORT; none: it answers in this process, by JAX
    way: str = "chat"  # into a server: chat (its template and its parser) or generate (ours; SGLang alone has it)
    weights: str = ""  # folder, GGUF file, hub id or smollm2-135m: answers in process; its template serves `generate`
    recorded: str = ""  # answers that are there already: JSON lines, or BFCL's result files
    served_as: str = ""  # what its servers call it, where that is not its name
    format: str = ""  # of its calls: openai, hermes, granite, llama, mistral, xlam, deepseek, python; empty: by `way`
    share: float = 1.0  # of the contexts
    samples: int = 4  # of each context
    at_once: int = 32  # requests that one server may have under way
    together: int | None = None  # samples in one request, at most; None: all by chat, one by generate
    key_variable: str = ""  # environment variable with the servers' key


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A model entry, opened. `where` says in a word who answers."""

    name: str
    where: str
    sampler: Sampler
    options: Sampling
    samples: int
    tasks: Sequence[Task]
    write: Callable[[Context], Prompt]
    read: Read

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
        return prompt, requests(prompt, self.name, self.options, range(self.samples))

    def asked(self, journal: Journal) -> Iterator[Asked]:
        """Contexts with their requests that have no outcome yet, one after the other."""
        for task in self.tasks:
            if found := self.requests_of(task):
                prompt, every = found
                if missing := journal.missing(every):
                    yield Asked(task.id, prompt, missing)


def open_entry(
    config: ModelConfig, tasks: Sequence[Task], options: Sampling, patience: Patience, seed: int, scratch: Path | None
) -> Entry:
    """Open an entry for its share of the tasks. Raises ConfigError, or ModelError where a model cannot be opened.

    scratch: where weights of other forms are brought into a folder. None: the entry is only to be counted with, so no
    weights are looked for, and it can ask nothing.
    """
    _check(config)
    by_chat = bool(config.servers) and config.way == "chat"
    planned = Entry(
        name=config.name,
        where=IN_PROCESS,
        sampler=RecordedSampler({}),
        options=options,
        samples=config.samples,
        tasks=[task for task in tasks if _takes(config, task, seed)],
        write=chat_prompt,
        read=reader(config.format or (OPENAI if by_chat or config.recorded else "hermes")),
    )
    if config.recorded:
        return _recorded(config, planned)
    if config.servers:
        servers = [Server(url, config.at_once) for url in config.servers]
        sampler = HttpSampler(
            config.served_as or config.name, servers, WAYS[config.way](), patience, config.together, _key(config)
        )
        where = f"{config.way} at {len(servers)} server{'s' if len(servers) > 1 else ''}"
        planned = dataclasses.replace(planned, where=where, sampler=sampler)
    if by_chat or scratch is None:
        return planned
    from toolrm_jax.data.chat import Chat

    folder = backbone(config.weights, scratch / config.name.replace("/", "--"))
    chat = Chat.load(folder)
    if not config.servers:
        from toolrm_jax.commands.synth_local import LocalSampler

        planned = dataclasses.replace(planned, sampler=LocalSampler(folder, chat))
    stopping = dataclasses.replace(options, stop_ids=(chat.end_of_turn_id,))
    return dataclasses.replace(planned, options=stopping, write=_writer(chat, options.thinking, config.name))


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
    """Token ids by the model's template. `thinking` false closes a block of reasoning before it is begun.

    Raises ConfigError where it is set for a template that knows nothing of it.
    """
    closed: list[int] = []
    if thinking is not None and "enable_thinking" not in chat.template.source:
        raise ConfigError(f"sampling.thinking: the template of {name} has no block of reasoning to open or close")
    if thinking is False:
        closed = chat.response_ids(Candidate(text=_CLOSED_THOUGHT))[:-1]
    return lambda context: Prompt(ids=(*chat.context_ids(context), *closed))


def _recorded(config: ModelConfig, planned: Entry) -> Entry:
    path = Path(config.recorded).expanduser()
    if path.suffix == ".jsonl":
        return dataclasses.replace(planned, where=RECORDED, sampler=RecordedSampler(read_jsonl(path)))
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
    return dataclasses.replace(planned, where=RECORDED, sampler=RecordedSampler(answers), read=_read_bfcl)


def _read_bfcl(task: Task, answer: Answer) -> Candidate:
    """BFCL's result files are decoded as they are read: how depends on the question's category."""
    return Candidate.from_json(answer.message["candidate"])
