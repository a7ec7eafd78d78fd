"""Answers from any number of servers of one model, over HTTP.

Each server has as many slots as it may have requests at once. A free slot takes the next piece of work: one that its
server has begun, one whose time to be tried again has come, or the first of a new context, so contexts are drawn no
faster than servers answer. All samples of a context go to one server, one after the other, which can share the prefix.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.synth.post import Blame, Trouble, new_session, post
from toolrm_jax.synth.protocol import Answer, Asked, Outcome, Prompt, Request, Sampling
from toolrm_jax.synth.servers import Patience, Server
from toolrm_jax.synth.wire import Malformed, Way

if TYPE_CHECKING:
    import aiohttp

REFUSED_AT_FIRST = 16
"""Contexts that servers may refuse before they have answered any: then it may be the settings that are at fault."""
_TICK_S = 0.1


@dataclasses.dataclass(slots=True, eq=False)
class _Piece:
    """Samples of one context that are asked for in one HTTP request."""

    task: str
    prompt: Prompt
    requests: tuple[Request, ...]
    attempts: int = 0


class HttpSampler:
    """Servers of one model. `servers` shows their state to whoever draws the table.

    together: samples of a context in one request, at most; None: all where the way in has them together.
    key: of the interface, sent as a header, kept out of every message. answered_before: whether an earlier run with
    these settings has answers, so that whatever is refused now is refused for its own sake.
    """

    answered_before = False

    def __init__(
        self,
        model: str,
        servers: Sequence[Server],
        way: Way,
        patience: Patience | None = None,
        together: int | None = None,
        key: str = "",
    ) -> None:
        if not servers:
            raise ConfigError(f"model {model}: no server; give at least one")
        if together is not None and together < 1:
            raise ConfigError(f"together={together}: give at least 1")
        self.model, self.servers, self.way, self.key = model, tuple(servers), way, key
        self.patience = patience or Patience()
        self.together = together

    def run(
        self,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """See `protocol.Sampler`."""
        try:
            asyncio.run(_Run(self, asked, options, record, stopped).work())
        except BaseExceptionGroup as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None


class _Run:
    """One call of `run`. Everything here happens in one thread."""

    def __init__(
        self,
        sampler: HttpSampler,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        self.sampler, self.options, self.record, self.stopped = sampler, options, record, stopped
        self.way, self.patience = sampler.way, sampler.patience
        self.source = iter(asked)
        self.drained = False  # nothing more comes from the source
        self.open = 0  # pieces begun and not done
        self.later: list[tuple[float, int, _Piece]] = []  # a heap: when to try again
        self.number = itertools.count()
        self.refused: list[Outcome] = []  # held back until a server has answered any
        self.stopping = False
        self.rng = random.Random()  # only for waiting times: no answer depends on it

    async def work(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.last_answer = self.clock()
        self.news = asyncio.Event()
        async with new_session(self.patience.timeout_s, self.sampler.key) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    slots = [
                        group.create_task(self.slot(session, server))
                        for server in self.sampler.servers
                        for _ in range(server.at_once)
                    ]
                    watch = group.create_task(self.watch(slots))
                    await asyncio.wait(slots)
                    watch.cancel()
            finally:
                for server in self.sampler.servers:
                    server.under_way = 0
        if not self.stopping:
            for outcome in self.refused:
                self.record(outcome)

    async def watch(self, slots: Sequence[asyncio.Task]) -> None:
        """Look whether to stop, and whether all servers have been silent for too long."""
        while not self.stopped():
            await asyncio.sleep(_TICK_S)
            silent_s = self.clock() - self.last_answer
            if silent_s > self.patience.silence_s and all(server.failures for server in self.sampler.servers):
                last = next(server for server in self.sampler.servers)
                raise ModelError(
                    f"model {self.sampler.model}: no server has answered for {silent_s:.0f} s (the first, {last.url}: "
                    f"{last.said}); start one and run the same command again"
                )
        self.stopping = True
        self.wake()
        await asyncio.wait(slots, timeout=self.patience.grace_s)
        for slot in slots:
            slot.cancel()

    async def slot(self, session: aiohttp.ClientSession, server: Server) -> None:
        while (piece := await self.next_piece(server)) is not None:
            server.under_way += 1
            try:
                await self.attempt(session, server, piece)
            finally:
                server.under_way -= 1

    @property
    def proven(self) -> bool:
        """Whether the settings are known to be such as a server answers to."""
        return self.sampler.answered_before or any(server.answered for server in self.sampler.servers)

    @property
    def in_doubt(self) -> bool:
        """Whether so many contexts are refused, and none answered, that no new one is to be tried."""
        return len({outcome.task for outcome in self.refused}) >= REFUSED_AT_FIRST

    async def next_piece(self, server: Server) -> _Piece | None:
        """The next piece for a free slot of this server; None when there is nothing more to do."""
        while not self.stopping:
            now = self.clock()
            piece = self.ready(server, now) if server.may_take(now) else None
            if piece is not None:
                return piece
            if self.drained and not self.open:
                return None
            if server.may_take(now):
                due = self.later[0][0] if self.later else now + 1.0
            else:
                due = server.free_at if now < server.free_at else now + 1.0
            self.news.clear()
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - now, 0.0) + 0.001):
                    await self.news.wait()
        return None

    def ready(self, server: Server, now: float) -> _Piece | None:
        if server.own:
            return server.own.popleft()
        if self.later and self.later[0][0] <= now:
            return heapq.heappop(self.later)[2]
        if self.drained or self.in_doubt:
            return None
        asked = next(self.source, None)
        if asked is None:
            self.drained = True
            self.wake()
            return None
        size = 1 if server.one_by_one else self.sampler.together or (len(asked.requests) if self.way.together else 1)
        self.split(server, asked.task, asked.prompt, asked.requests, size)
        return server.own.popleft()

    def split(self, server: Server, task: str, prompt: Prompt, requests: Sequence[Request], size: int) -> None:
        """Give the server the samples of a context, in pieces of at most `size`."""
        for start in range(0, len(requests), size):
            server.own.append(_Piece(task, prompt, tuple(requests[start : start + size])))
            self.open += 1
        if len(server.own) > 1:
            self.wake()

    async def attempt(self, session: aiohttp.ClientSession, server: Server, piece: _Piece) -> None:
        body = self.way.body(self.sampler.model, piece.prompt, self.options, piece.requests)
        began = self.clock()
        try:
            payload = await post(session, server.url + self.way.path, body, self.patience.timeout_s)
            answers = self.way.answers(payload, self.options)
        except Malformed as fault:
            self.troubled(server, piece, Trouble(Blame.FAILED, str(fault)), began)
        except Trouble as trouble:
            self.troubled(server, piece, trouble, began)
        else:
            self.answered(server, piece, answers, self.clock() - began)

    def answered(self, server: Server, piece: _Piece, answers: Sequence[Answer], seconds: float) -> None:
        """Record what came; what did not come is asked for again, one sample a request."""
        self.last_answer = self.clock()
        if server.aside or self.refused:
            self.wake()
        server.has_answered()
        for outcome in self.refused:
            self.record(outcome)
        self.refused.clear()
        for request, answer in zip(piece.requests, answers):
            known = dataclasses.replace(answer, server=server.url, seconds=round(seconds, 4))
            self.record(Outcome(piece.task, request, known))
        if rest := piece.requests[len(answers) :]:
            server.one_by_one = True
            self.split(server, piece.task, piece.prompt, rest, 1)
        if self.options.temperature > 0:
            server.has_drawn([answer.words() for answer in answers[: len(piece.requests)]])
        self.done()

    def troubled(self, server: Server, piece: _Piece, trouble: Trouble, began: float) -> None:
        reason = trouble.reason.replace(self.sampler.key, "***") if self.sampler.key else trouble.reason
        now = self.clock()
        if trouble.blame is Blame.ADDRESS and not server.answered:
            raise ModelError(f"model {self.sampler.model}: {server.url}{self.way.path}: {reason}")
        if trouble.blame is Blame.REFUSED:
            server.said = reason
            self.fail(server, piece, reason)
            return
        server.has_failed(began, now)
        wait = self.patience.wait_s(server.failures, self.rng)
        # A server may ask for a day; by then the run has ended.
        told = None if trouble.wait_s is None else min(trouble.wait_s, self.patience.silence_s)
        if trouble.blame is Blame.BUSY:
            server.rest(now, wait if told is None else told, reason)
            self.try_later(piece, now)
            self.hand_back(server, now)
            return
        if trouble.blame is Blame.UNREACHABLE or server.failures >= self.patience.aside_after:
            server.aside = True
            server.rest(now, wait, reason)
            self.hand_back(server, now)
        else:
            server.said = reason
        if trouble.blame is not Blame.UNREACHABLE:
            piece.attempts += 1
            if piece.attempts >= self.patience.attempts:
                self.fail(server, piece, f"{piece.attempts} attempts, the last: {reason}")
                return
            now += max(self.patience.wait_s(piece.attempts, self.rng), told or 0.0)
        self.try_later(piece, now)

    def fail(self, server: Server, piece: _Piece, reason: str) -> None:
        """Record that a piece will have no answer; the server is the one that failed it last."""
        server.failed += len(piece.requests)
        outcomes = [Outcome(piece.task, request, None, reason) for request in piece.requests]
        if self.proven:
            for outcome in outcomes:
                self.record(outcome)
        else:
            self.refused += outcomes
        self.done()
        if self.in_doubt and not self.open:
            raise ModelError(
                f"model {self.sampler.model}: of {len(self.refused)} requests none was answered; the last: {reason}"
            )

    def hand_back(self, server: Server, now: float) -> None:
        """What a server had begun may be done by any other."""
        while server.own:
            self.try_later(server.own.popleft(), now)

    def try_later(self, piece: _Piece, when: float) -> None:
        heapq.heappush(self.later, (when, next(self.number), piece))
        self.wake()

    def done(self) -> None:
        self.open -= 1
        if not self.open and self.drained:
            self.wake()

    def wake(self) -> None:
        """Let waiting slots look again."""
        self.news.set()
