"""launch/one_host.sh: what stopped the run decides whether it is started again."""

from __future__ import annotations

import signal
import sys
import time

from tests.launch.cluster import STOPS_ONCE, Cluster

WAITS = 'trap "echo saved; exit 75" TERM; echo up >>ups; while :; do sleep 0.05; done'


def environment(cluster):
    """An environment that is there already, so that nothing is installed."""
    made = cluster.work / "env" / "bin"
    made.mkdir(parents=True)
    (made / "toolrm").write_text(f"#!/bin/sh\nexec {sys.executable} -m toolrm_jax\n")
    (made / "toolrm").chmod(0o755)
    return ("--env", "env", "--", "bash", "-c")


def test_a_run_stopped_by_something_else_goes_on(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("one_host.sh", *environment(cluster), STOPS_ONCE, JAX_PROCESS_ID="0")
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert "going on from the last checkpoint" in done.stderr


def test_a_signal_to_the_script_stops_the_run_for_good_once_it_has_saved(tmp_path):
    cluster = Cluster(tmp_path)
    process = cluster.start("one_host.sh", *environment(cluster), WAITS)
    while not (cluster.work / "ups").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (75, "saved\n")
    assert (cluster.work / "ups").read_text() == "up\n"


def test_a_failure_is_passed_on(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("one_host.sh", *environment(cluster), "exit 3").returncode == 3
