"""How many requests the sampling client gets through on one core, and whether its memory stays flat.

    python benchmarks/synth_client.py [--requests 200000] [--at-once 64] [--way generate]

A stub in a process of its own answers at once. The client's processor time is its own process's, the journal's thread
(which syncs each commit to disk) among it; the stub's is told beside it. Memory is the client's resident set.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from toolrm_jax.synth.http_sampler import HttpSampler
from toolrm_jax.synth.journal import Journal, read_status
from toolrm_jax.synth.protocol import Asked, Outcome, Prompt, Sampling, requests
from toolrm_jax.synth.servers import Patience, Server
from toolrm_jax.synth.wire import WAYS

PROMPT_TOKENS = 200
TEXT = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'
SAMPLES = 4


class Stub(asyncio.Protocol):
    """HTTP/1.1 with kept connections, and one answer to whatever is asked."""

    answer: bytes

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            del self.buffer[: end + 4 + length]
            self.transport.write(self.answer)


def serve(way: str, port: Connection) -> None:
    """Answer on a free port, told through the pipe, until the pipe says to end; then tell the processor time."""
    if way == "generate":
        meta = {
            "finish_reason": {"type": "stop", "matched": 2},
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": 30,
        }
        body = {"text": TEXT, "output_ids": list(range(30)), "meta_info": meta}
    else:
        choice = {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
        body = {"choices": [choice], "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 30}}
    text = json.dumps(body).encode()
    Stub.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text

    async def work() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(port.recv)
        server.close()

    asyncio.run(work())
    port.send(time.process_time())


def contexts(count: int, way: str, options: Sampling, journal: Journal) -> Iterator[Asked]:
    """So many contexts, looked up in the journal as a run does."""
    for number in range(count):
        if way == "generate":
            prompt = Prompt(ids=(number, *range(PROMPT_TOKENS - 1)))
        else:
            prompt = Prompt(body=json.dumps({"messages": [{"role": "user", "content": f"{number} {'word ' * 150}"}]}))
        missing = journal.missing(requests(prompt, "stub", options, range(SAMPLES)))
        yield Asked(f"task {number}", prompt, missing)


def resident_mib() -> float:
    """This process's resident set."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--way", choices=sorted(WAYS), default="generate")
    given = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(given.way, theirs), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    options = Sampling(max_tokens=64, stop_ids=(2,))
    done, memory = 0, []

    def counted(plan: int, outcome: Outcome) -> None:
        nonlocal done
        assert outcome.answer is not None, outcome.failure
        done += 1
        if done % (given.requests // 10) == 0:
            memory.append(resident_mib())
            print(f"{done:>9,} requests on disk, {memory[-1]:,.1f} MiB", flush=True)

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal.sqlite"), counted) as journal:
        plan = journal.plan("stub", options, given.requests)
        sampler = HttpSampler("stub", [Server(url, given.at_once)], WAYS[given.way](), Patience(), together=1)
        asked = contexts(given.requests // SAMPLES, given.way, options, journal)
        began, cpu = time.perf_counter(), time.process_time()
        sampler.run(asked, options, lambda outcome: journal.record(plan, outcome), lambda: False)
        journal.settle()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - began
        (status,) = read_status(journal.path)
        assert status.answers == done == given.requests // SAMPLES * SAMPLES, status
        size = os.path.getsize(journal.path) / 2**20
    ours.send(None)
    theirs_cpu = ours.recv()
    print(f"{done:,} requests by {given.way}, {given.at_once} at once, journal of {size:,.0f} MiB")
    print(f"client: {cpu:.1f} s of processor time, {done / cpu:,.0f} requests/s on one core; wall {wall:.1f} s")
    print(f"stub: {theirs_cpu:.1f} s of processor time")
    print(f"memory: {memory[0]:,.1f} MiB after a tenth, {memory[-1]:,.1f} MiB at the end, most {max(memory):,.1f} MiB")


if __name__ == "__main__":
    main()
