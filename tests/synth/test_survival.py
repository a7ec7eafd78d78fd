"""A run that is killed again and again ends with every answer once: against a stub, which is quick."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.converters.tiny_policy import tiny_chat
from tests.synth.made_tasks import write_tasks
from tests.synth.survival import CONFIG, Server, start_run, survive, wait_for
from toolrm_jax.synth.journal import read_status

STUB = """
import asyncio, sys, threading
sys.path.insert(0, sys.argv[2])
from tests.synth.stub_server import obedient, serving

async def slow(body, stub):
    await asyncio.sleep(0.02)
    return await obedient(body, stub)

with serving(slow, int(sys.argv[1])):
    threading.Event().wait()
"""
ROOT = Path(__file__).parents[2]


def stub_at(port):
    def start():
        return subprocess.Popen([sys.executable, "-c", STUB, str(port), str(ROOT)], start_new_session=True)

    return Server(start, f"http://127.0.0.1:{port}")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_run_killed_three_times_with_a_server_killed_once_has_every_answer_once(tmp_path):
    tiny_chat(tmp_path / "tokenizer")
    server = stub_at(free_port())
    try:
        survive(tmp_path, server, tmp_path / "tokenizer", "m", contexts=60, timeout_s=20)
    finally:
        server.kill()


def test_a_signal_stops_a_run_cleanly_and_the_same_command_ends_it(tmp_path):
    tiny_chat(tmp_path / "tokenizer")
    server = stub_at(free_port())
    text = CONFIG.format(
        output=str(tmp_path / "out"), url=server.url, served_as="m", samples=2, weights=str(tmp_path / "tokenizer"),
        at_once=2, tasks=write_tasks(tmp_path / "xlam.json", 100), timeout_s=20,
    )  # fmt: skip
    (tmp_path / "config.py").write_text(text)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            run = start_run(tmp_path)
            wait_for(tmp_path / "out", 20 if number == signal.SIGTERM else 200, run)
            run.send_signal(number)
            began = time.monotonic()
            said, _ = run.communicate(timeout=60)
            assert run.returncode == 75, said
            assert "stopped: " in said
            assert time.monotonic() - began < 30
            assert not (tmp_path / "out" / "groups").exists()
        run = start_run(tmp_path)
        said, _ = run.communicate(timeout=120)
        assert run.returncode == 0, said
        assert sum(status.answers for status in read_status(tmp_path / "out" / "journal.sqlite")) == 400
    finally:
        server.kill()
