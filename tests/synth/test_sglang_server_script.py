"""launch/sglang_server.sh: servers on their own GPUs and ports, a router once they answer, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "sglang_server.sh"

STAND_IN = """#!{python}
import http.server, os, sys, time
words = sys.argv[1:]
module, options = words[1], words[2:]
port = int(options[options.index("--port") + 1])
with open({log!r}, "a") as log:
    print(module, os.getpid(), *options, file=log)
if "broken" in options:
    sys.exit(3)
time.sleep(0.3)

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path == ("/health" if "router" in module else "/health_generate")
        self.send_response(200 if ready else 404)
        self.end_headers()
        self.wfile.write(str(port).encode())

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


@pytest.fixture
def start(tmp_path):
    """Start the script with a Python that only pretends, and give the process; everything is ended afterwards."""
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    python.chmod(0o755)
    log.touch()
    begun = []

    def begin(*words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [SCRIPT, *words, "--port", str(port)],
            env=os.environ | {"PYTHON": str(python)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process, port, log

    yield begin
    for process in begun:
        process.kill()
        process.wait()
    for line in log.read_text().splitlines():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[1]), signal.SIGKILL)


def alive(log):
    found = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)
            found.append(line)
    return found


def test_several_servers_stand_behind_a_router_and_go_with_it(start):
    process, port, log = start("model", "--servers", "2", "--tp", "2", "--parser", "qwen", "--host", "127.0.0.1")
    assert process.stdout.readline() == f"http://127.0.0.1:{port}\n"
    lines = [line.split() for line in log.read_text().splitlines()]
    servers = sorted((line for line in lines if line[0] == "sglang.launch_server"), key=lambda line: line[7])
    (router,) = [line for line in lines if line[0] == "sglang_router.launch_router"]
    placed = [(line[line.index("--port") + 1], line[line.index("--base-gpu-id") + 1]) for line in servers]
    assert placed == [(str(port + 1), "0"), (str(port + 2), "2")]
    assert router[router.index("--worker-urls") + 1 :] == [
        f"http://127.0.0.1:{port + 1}",
        f"http://127.0.0.1:{port + 2}",
    ]
    assert lines.index(router) == 2, "the router was started before the servers answered"
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read() == str(port).encode()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    assert alive(log) == []


def test_one_server_needs_no_router(start):
    process, port, log = start("model")
    assert process.stdout.readline() == f"http://127.0.0.1:{port}\n"
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["sglang.launch_server"]


def test_a_server_that_ends_ends_all(start):
    process, _, log = start("model", "--servers", "2")
    process.stdout.readline()
    os.kill(int(log.read_text().splitlines()[0].split()[1]), signal.SIGKILL)
    assert process.wait(timeout=20) == 2
    assert "a server or the router ended" in process.stderr.read()
    assert alive(log) == []


def test_a_server_that_cannot_start_is_told_at_once(start):
    began = time.monotonic()
    process, _, log = start("model", "--servers", "2", "--ready-s", "60", "--parser", "broken")
    assert process.wait(timeout=30) == 2
    assert "a server ended before it was ready" in process.stderr.read()
    assert time.monotonic() - began < 30
    assert alive(log) == []


def test_a_dry_run_prints_every_command_and_starts_none():
    words = ["Qwen/Qwen3-8B", "--servers", "2", "--tp", "2", "--dry-run", "--", "--context-length", "8192"]
    done = subprocess.run(
        [SCRIPT, *words], env=os.environ | {"PYTHON": "no-such-python"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "http://127.0.0.1:30000\n"
    begun = [line for line in done.stderr.splitlines() if line.startswith("+ no-such-python -m ")]
    assert [line.split()[3] for line in begun] == ["sglang.launch_server"] * 2 + ["sglang_router.launch_router"]
    assert "--base-gpu-id 2 --context-length 8192 &" in begun[1]


def test_seeds_count_where_that_is_asked_for():
    for words, count in (([], 0), (["--deterministic"], 2)):
        done = subprocess.run(
            [SCRIPT, "m", "--servers", "2", *words, "--dry-run"], env=os.environ | {"PYTHON": "no-such-python"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr.count("--enable-deterministic-inference") == count


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no model"),
        (["m", "--servers", "0"], "0: expected a number"),
        (["m", "n"], "n: one model a call"),
        (["m", "--gpus", "2"], "--gpus: unknown option"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(words, says):
    done = subprocess.run([SCRIPT, *words, "--dry-run"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
