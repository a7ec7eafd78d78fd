"""Tools of a Model Context Protocol server that is started here and spoken to over its standard input and output.

Only what the list of tools needs of the protocol: `initialize`, `notifications/initialized`, and `tools/list`, page by
page (modelcontextprotocol.io, revision 2025-06-18). No tool is called.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from toolrm_jax import __version__
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.toolcalls.types import Tool

PROTOCOL = "2025-06-18"
PAGES = 1000
LAST_WORDS = 300


def mcp_tools(command: str, timeout: float) -> list[Tool]:
    """The tools that the server names. Raises ConfigError where it does not start, ends early, or does not answer."""
    with server(command) as process:
        speech = _Speech(process, command, time.monotonic() + timeout)
        speech.ask(
            "initialize",
            {
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": {"name": "toolrm_jax", "version": __version__},
            },
        )
        speech.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = speech.ask("tools/list", {"cursor": cursor} if cursor else {})
            tools += [_tool(entry, command) for entry in page.get("tools") or ()]
            cursor = page.get("nextCursor")
            if not cursor:
                return tools
        raise DataError(f"mcp={command}: gives more than {PAGES} pages of tools; it does not come to an end")


def _tool(entry: Any, command: str) -> Tool:
    """A tool as the protocol writes it. Parameters without a type are an object's."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise DataError(f"mcp={command}: a tool without a name; mend the server")
    schema = entry.get("inputSchema")
    if not isinstance(schema, dict):
        raise DataError(f"mcp={command}: tool {entry['name']!r} has no inputSchema; mend the server")
    description = entry.get("description") or entry.get("title") or ""
    return Tool(entry["name"], str(description).strip(), {"type": "object"} | schema)


@contextmanager
def server(command: str) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, ended when the block ends."""
    try:
        words = shlex.split(command)
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"mcp={command}: does not start ({error}); give the command of an MCP server") from None
    try:
        yield process
    finally:
        with suppress(OSError):
            process.stdin.close()  # how a server is asked to leave
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


class _Speech:
    """Requests and their answers, a JSON object on each line."""

    def __init__(self, process: subprocess.Popen[bytes], command: str, until: float) -> None:
        self.process, self.command, self.until, self.number = process, command, until, 0
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.said = bytearray()
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()
        threading.Thread(target=self._listen, args=(process.stderr,), daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.lines.put(line)
        self.lines.put(b"")

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:  # what a server has no room to say, it waits to say
            self.said[:] = (self.said + line)[-LAST_WORDS:]

    def send(self, message: dict[str, Any]) -> None:
        """Say something."""
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._gone() from None

    def ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The result of a request."""
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": parameters})
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, self.until - time.monotonic()))
            except queue.Empty:
                raise ConfigError(
                    f"mcp={self.command}: no answer to {method} in time; is it an MCP server? Else raise timeout"
                ) from None
            if not line:
                raise self._gone()
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # a line of log that went the wrong way
            if isinstance(answer, dict) and answer.get("id") == self.number and "method" not in answer:
                return self._result(method, answer)

    def _result(self, method: str, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            error = answer["error"]
            why = error.get("message") if isinstance(error, dict) else error
            raise ConfigError(f"mcp={self.command}: refuses {method} ({why}); it names no tools")
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    def _gone(self) -> ConfigError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        said = self.said.decode("utf-8", "replace").strip().splitlines()
        last = f": {said[-1].strip()}" if said else ""
        code = self.process.poll()
        return ConfigError(f"mcp={self.command}: ended with code {code} before it named its tools{last}")
