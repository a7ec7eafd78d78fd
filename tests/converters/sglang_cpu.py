"""The real SGLang server on this machine's CPU, as launch/sglang_cpu.sh starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "sglang_cpu.sh"
READY = 900.0
"""Seconds until it must answer: it compiles first, on a busy machine slowly."""


def environment() -> Path:
    """Where the server is installed; skips the test where it is not."""
    folder = Path(os.environ.get("SGLANG_CPU_ENV") or "~/.cache/toolrm-sglang-cpu").expanduser()
    if not (folder / "done").is_file():
        pytest.skip(f"{folder} holds no SGLang server; `make test-sglang` installs it")
    return folder


@contextlib.contextmanager
def sglang(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """The address of a server of that folder, which ends with the block."""
    there = environment()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(SCRIPT), str(folder), "--port", str(port), *options]
    with open(log, "wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"SGLANG_CPU_ENV": str(there)},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(server, url, log)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(server: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + READY
    while time.monotonic() < end:
        if server.poll() is not None:
            raise AssertionError(f"the server ended ({server.returncode}): {_tail(log)}")
        with contextlib.suppress(urllib.error.URLError, OSError):
            # The first answer is generated while it warms up.
            if urllib.request.urlopen(f"{url}/health_generate", timeout=60).status == 200:
                return
        time.sleep(1)
    raise AssertionError(f"the server did not come up: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
