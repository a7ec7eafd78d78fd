"""200 contexts, four samples each, from a real SGLang server by both ways in, through kills on both sides."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.converters.sglang_cpu import SCRIPT, environment
from tests.converters.tiny_policy import tiny_policy
from tests.synth.faults import run_through_faults
from tests.synth.survival import Server, survive
from tests.synth.test_survival import free_port
from toolrm_jax.synth.servers import Patience

pytestmark = pytest.mark.slow
READY_S = 900.0


def sglang_at(port: int, folder: Path, log: Path) -> Server:
    """The server on that port, once it answers."""
    there = environment()
    url = f"http://127.0.0.1:{port}"

    def start() -> subprocess.Popen:
        command = [str(SCRIPT), str(folder), "--port", str(port), "--dtype", "float32"]
        with open(log, "ab") as out:
            return subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"SGLANG_CPU_ENV": str(there)},
            )

    server = Server(start, url)
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert server.process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            with urllib.request.urlopen(f"{url}/health_generate", timeout=60) as answer:
                if answer.status == 200:
                    return server
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    server.kill()
    raise AssertionError(f"the server did not come up: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A tiny policy of ours, served: the server and the policy's folder."""
    environment()
    folder = tmp_path_factory.mktemp("sglang")
    policy = tiny_policy(folder, head_dim=128)
    server = sglang_at(free_port(), policy, folder / "server.log")
    yield server, policy
    server.kill()


def test_two_hundred_contexts_by_four_samples_through_both_ways_in_and_all_kills(served, tmp_path):
    server, policy = served
    survive(tmp_path, server, policy, str(policy), contexts=200, timeout_s=120)
    said = (tmp_path / "run.log").read_text()
    # By chat this server draws all samples with one seed, whatever it is sent; a run must not be silent about that.
    assert "WARNING: chat: all samples are the same text in 200 of 200 contexts" in said
    assert "WARNING: generate" not in said


@pytest.mark.parametrize("way", ["generate", "chat"])
def test_behind_a_faulty_proxy_every_context_finishes_or_fails_for_the_true_reason(served, tmp_path, way):
    server, policy = served
    patience = Patience(timeout_s=60, attempts=3, first_s=0.05, longest_s=0.5)
    outcomes = run_through_faults(tmp_path, server.url, way, str(policy), 20, patience, slow_s=0.3, at_once=4)
    assert any(outcome.answer is not None for outcome in outcomes)
