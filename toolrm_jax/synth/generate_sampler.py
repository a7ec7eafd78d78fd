"""Our own models as a sampler: contexts in, answers out, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.decode import Decoder
from toolrm_jax.models.draw import Filters
from toolrm_jax.synth.generate import Limits, cache_gib, generate
from toolrm_jax.synth.generate_rows import Wanted, Written
from toolrm_jax.synth.protocol import LENGTH, STOPPED, Answer, Asked, Outcome, Sampling


class InProcess:
    """A model whose answers are written here.

    decode: token ids to text.
    """

    def __init__(self, model: Decoder, decode: Callable[[Sequence[int]], str], limits: Limits | None = None) -> None:
        self.model, self.decode, self.limits = model, decode, limits or Limits()

    def run(
        self,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """As `protocol.Sampler` says. A context too long or too large with `max_tokens` fails; the others go on.

        Raises ConfigError without stop ids: every answer would be as long as it may be.
        """
        if not options.stop_ids:
            raise ConfigError("stop_ids: name the token that ends a turn, so that answers written in process end")
        steps = generate(
            self.model,
            self._wanted(asked, options, record),
            stop_ids=options.stop_ids,
            max_tokens=options.max_tokens,
            filters=Filters(options.temperature, options.top_k, options.top_p, options.min_p),
            limits=self.limits,
        )
        while not stopped() and (ended := next(steps, None)) is not None:
            for written in ended:
                record(self._outcome(written, options))

    def _wanted(self, asked: Iterable[Asked], options: Sampling, record: Callable[[Outcome], None]) -> Iterator[Wanted]:
        for one in asked:
            if not one.prompt.ids:
                raise ConfigError(
                    f"task {one.task}: asked for without token ids; an own model is given contexts in its own template"
                )
            if why := self._too_large(len(one.prompt.ids), options.max_tokens):
                for request in one.requests:
                    record(Outcome(one.task, request, failure=why))
            else:
                yield Wanted(one, one.prompt.ids, [request.seed for request in one.requests])

    def _too_large(self, tokens: int, max_tokens: int) -> str:
        """Why a context of so many tokens cannot be answered; empty where it can."""
        both = f"context of {tokens} tokens and an answer of {max_tokens}"
        if tokens + max_tokens > (longest := self.model.config.max_position_embeddings):
            return f"{both} are more than the {longest} that the model reads"
        if (needed := cache_gib(self.model, tokens, max_tokens, self.limits)) > self.limits.cache_gib:
            return f"{both} need {needed:.3g} GiB of keys and values, limits.cache_gib is {self.limits.cache_gib:g}"
        return ""

    def _outcome(self, written: Written, options: Sampling) -> Outcome:
        asked: Asked = written.name
        answer = Answer(
            text=self.decode(written.tokens),
            finish=STOPPED if written.stopped else LENGTH,
            prompt_tokens=len(asked.prompt.ids),
            tokens=len(written.tokens),
            seconds=written.seconds,
            ids=written.tokens,
            logprobs=written.logprobs if options.logprobs else (),
        )
        return Outcome(asked.task, asked.requests[written.sample], answer)
