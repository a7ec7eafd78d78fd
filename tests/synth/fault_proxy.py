"""A proxy in front of a server that passes requests on, or does one of the things that servers and networks do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Sequence

import aiohttp
from aiohttp import web

from tests.synth.stub_server import application

FAULTS = ("dropped", "slow", "busy", "broken", "cut", "garbled")
REASONS = {
    "dropped": "connection lost (ServerDisconnectedError)",
    "slow": "no answer within",
    "broken": "HTTP 500: out of luck",
    "cut": "the answer was cut short",
    "garbled": "the answer is not JSON: <html>busy</html>",
}
"""What the client must say of each; that the server is busy is no reason to give up."""


@dataclasses.dataclass(slots=True)
class Seen:
    """Requests in order: the body, and the fault that it met (empty: it was passed on); and what the server answered.

    answered: the body, and how many answers were given to it.
    """

    requests: list[tuple[bytes, str]] = dataclasses.field(default_factory=list)
    answered: list[tuple[bytes, int]] = dataclasses.field(default_factory=list)
    url: str = ""


def drawn(rng: random.Random, share: float, faults: Sequence[str]) -> str:
    """One of the faults, each with that probability; empty for none."""
    number = rng.random()
    return next((fault for place, fault in enumerate(faults, 1) if number < place * share), "")


@contextlib.contextmanager
def fault_proxy(
    upstream: str | Callable[[], str],
    share: float,
    slow_s: float = 0.0,
    seed: int = 14,
    faults: Sequence[str] = FAULTS,
) -> Iterator[Seen]:
    """A proxy that has each of the faults befall that share of the requests, and the rest pass; never two at once."""
    assert share * len(faults) <= 1, "a request meets one fault at most"
    rng = random.Random(seed)
    seen = Seen()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = drawn(rng, share, faults)
        seen.requests.append((body, fault))
        if fault == "dropped":
            request.transport.close()
            return web.Response()
        if fault == "slow":
            await asyncio.sleep(slow_s)
        if fault == "busy":
            return web.Response(status=429, headers={"Retry-After": "0.05"}, text="slow down")
        if fault == "broken":
            return web.Response(status=500, text="out of luck")
        if fault == "garbled":
            return web.Response(text="<html>busy</html>", content_type="text/html")
        where = upstream if isinstance(upstream, str) else upstream()
        try:
            async with (
                aiohttp.ClientSession(skip_auto_headers=("User-Agent",)) as session,
                session.post(where + request.path, data=body, headers={"Content-Type": "application/json"}) as answer,
            ):
                content, status = await answer.read(), answer.status
                if status == 200:
                    seen.answered.append((body, len(json.loads(content).get("choices", "1"))))
        except (aiohttp.ClientError, OSError):
            request.transport.close()
            return web.Response()
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            request.transport.close()
            return response
        return web.Response(body=content, status=status, content_type="application/json")

    with application(handle) as url:
        seen.url = url
        yield seen
