"""A server that answers at once and remembers what it was asked, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any], "Stub"], Awaitable[web.StreamResponse]]


class Stub:
    """What the server was asked: request bodies in order, how many were under way at most, and its address."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.at_once = 0
        self.url = ""
        self.counts: Counter[str] = Counter()


async def obedient(body: dict[str, Any], stub: Stub) -> web.StreamResponse:
    """As many answers as asked, each with its seed in its text."""
    if "input_ids" in body:
        settings = body["sampling_params"]
        return web.json_response(generated(f"sample {settings['sampling_seed']}"))
    return web.json_response(chatted([f"sample {body['seed']} {number}" for number in range(body.get("n", 1))]))


def chatted(texts: list[str], finish: str = "stop") -> dict[str, Any]:
    choices = [{"message": {"role": "assistant", "content": text}, "finish_reason": finish} for text in texts]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3 * len(texts)}}


def generated(text: str, finish: str = "stop") -> dict[str, Any]:
    meta = {"finish_reason": {"type": finish}, "prompt_tokens": 7, "completion_tokens": 3}
    return {"text": text, "output_ids": [5, 6, 2], "meta_info": meta}


@contextlib.contextmanager
def serving(answer: Answer = obedient, port: int = 0) -> Iterator[Stub]:
    """A stub that answers by that function while the block runs."""
    stub = Stub()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        stub.bodies.append(body)
        stub.headers.append(dict(request.headers))
        stub.at_once += 1
        stub.most_at_once = max(stub.most_at_once, stub.at_once)
        try:
            return await answer(body, stub)
        finally:
            stub.at_once -= 1

    with application(handle, port) as url:
        stub.url = url
        yield stub


@contextlib.contextmanager
def application(handle: Callable[[web.Request], Awaitable[web.StreamResponse]], port: int = 0) -> Iterator[str]:
    """The address of a server that gives every POST to that function."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    found: dict[str, Any] = {}

    async def start() -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{tail:.*}", handle)
        found["runner"] = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await found["runner"].setup()
        site = web.TCPSite(found["runner"], "127.0.0.1", port)
        await site.start()
        found["port"] = site._server.sockets[0].getsockname()[1]
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(found["runner"].cleanup())
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{found['port']}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
