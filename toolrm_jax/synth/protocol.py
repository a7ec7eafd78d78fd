"""Contexts in, answers out: what every sampler is given, and what it gives back.

    sampler.run([Asked(task, prompt, requests), ...], options, record, stopped)

A `Request` is one sample of one context. Its `key` is a hash of all that decides the answer (rendered input, model,
options, sample index), so a changed option is a new request; its `seed` follows from the key, so that no two samples
of a run share one and a run started again draws what it would have drawn.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.toolcalls.types import Record

STOPPED = "stop"
LENGTH = "length"
"""Why an answer ended: the model ended its turn, or `max_tokens` were written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling(Record):
    """How tokens are drawn. The order of the filters is top-k, top-p, min-p, as in SGLang and vLLM.

    temperature: 0 takes the likeliest token always. top_k: 0 keeps all. min_p: of the likeliest token's probability.
    max_tokens: drawn for an answer, the one that ends it included. stop_ids: tokens that end an answer, no part of it;
    a server that writes the prompt itself knows its own. thinking: whether the template is to open a block of
    reasoning; None: as the template does by itself. logprobs: whether the drawn tokens' log-probabilities are kept.
    seed: of the whole run.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 512
    stop_ids: tuple[int, ...] = ()
    thinking: bool | None = None
    logprobs: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):  # 1 and 1.0 are one option, so one request
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, allowed, way_out in (
            ("temperature", 0 <= self.temperature <= 100, "give 0 (the likeliest token) to 100"),
            ("top_p", 0 < self.top_p <= 1, "is a share; give more than 0, at most 1"),
            ("top_k", self.top_k >= 0, "give 0 for all tokens, or how many"),
            ("min_p", 0 <= self.min_p <= 1, "is a share; give 0 to 1"),
            ("max_tokens", self.max_tokens >= 1, "give at least 1"),
            ("stop_ids", all(token >= 0 for token in self.stop_ids), "are token ids, 0 or more"),
        ):
            if not allowed:
                raise ConfigError(f"{name}={getattr(self, name)}: {way_out}")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "stop_ids" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is given: either `ids`, rendered by our template, or `body`, for a server that renders itself.

    body: JSON text of an object with `messages` and, where there are any, `tools`, in OpenAI's form.
    """

    ids: tuple[int, ...] = ()
    body: str = ""

    def __post_init__(self) -> None:
        if bool(self.ids) == bool(self.body):
            raise DataError("Prompt: give either token ids or a body, and nothing empty")

    @property
    def digest(self) -> str:
        """sha256 (hex) of the rendered input."""
        text = self.body or json.dumps(self.ids, separators=(",", ":"))
        return hashlib.sha256(f"{'body' if self.body else 'ids'}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One sample of one context. `sample` counts from 0."""

    key: str
    sample: int

    @property
    def seed(self) -> int:
        """Of this sample alone, in [1, 2^31): what engines take as a seed, 0 often meaning none."""
        return int(self.key[:16], 16) % (2**31 - 1) + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A context and those of its samples that have no answer yet. `task`: the id of the task it stands in."""

    task: str
    prompt: Prompt
    requests: tuple[Request, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer(Record):
    """What a model wrote, without the token that ended it.

    text: as it was written, reasoning included where the sampler shows it. message: of a server that parses calls
    itself, the assistant's message as it came (then `text` is its content). logprobs: of each token, in the model's own
    distribution at temperature 1 for the JAX sampler, as the server counts them otherwise. seconds: from sending to the
    last token. tokens: without the one that ended it; by chat as the server counts them, mostly with it. server: who
    answered, empty in process.
    """

    text: str
    finish: str
    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    server: str = ""
    message: Mapping[str, Any] | None = None
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("ids", "logprobs") else value

    def words(self) -> str:
        """What was said, letter for letter, without the ids that servers make up for calls."""
        message = dict(self.message or {})
        if isinstance(calls := message.get("tool_calls"), list):
            message["tool_calls"] = [
                {name: value for name, value in call.items() if name != "id"} if isinstance(call, Mapping) else call
                for call in calls
            ]
        return json.dumps([self.text, message], sort_keys=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one request: its answer, or why there is none and never will be (`failure`, one line)."""

    task: str
    request: Request
    answer: Answer | None = None
    failure: str = ""

    def __post_init__(self) -> None:
        assert (self.answer is None) == bool(self.failure), "an outcome is an answer or a failure"


class Sampler(Protocol):
    """Answers contexts with one model."""

    def run(
        self,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Answer every request of `asked`, in any order, and hand each outcome to `record` as soon as it is there.

        asked: drawn from only when there is room for more, so it may be endless in length but not in memory. It is
        drawn from and `record` called in the thread that called `run`. record: may block while the disk is slow.
        stopped: once true, nothing more is begun; `run` returns soon, and requests without an outcome are asked again
        by the next run. Raises ToolrmError where no request can ever succeed: no such model, no server.
        """
        ...


def request_key(prompt: Prompt, model: str, options: Sampling, sample: int) -> str:
    """sha256 (hex): who the request is. Equal for equal (rendered input, model name, options, sample index) alone."""
    return requests(prompt, model, options, [sample])[0].key


def requests(prompt: Prompt, model: str, options: Sampling, samples: Sequence[int]) -> tuple[Request, ...]:
    """The requests for those sample indices of one context."""
    every = dataclasses.asdict(options)
    start = hashlib.sha256(json.dumps([prompt.digest, model, every], sort_keys=True).encode())
    made = []
    for sample in samples:
        one = start.copy()
        one.update(f"\0{sample}".encode())
        made.append(Request(one.hexdigest(), sample))
    return tuple(made)
