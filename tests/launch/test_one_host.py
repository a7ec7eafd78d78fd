"""launch/one_host.sh: what stopped the run decides whether it is started again."""

from __future__ import annotations

import signal
import sys
import time

from tests.launch.cluster import STOPS_ONCE, Cluster

WAITS = 'trap "echo saved; exit 75" TERM; echo up >>ups; while :; do sleep 0.05; done'


PYTHON = """#!/bin/bash
# Stands in for an environment's python: what pip installs is there from then on.
here=$(dirname "$0")
echo "python $*" >>"$here/../../calls"
case $* in
    *"pip install"*) printf '#!/bin/sh\\nexit 9\\n' >"$here/toolrm" && chmod +x "$here/toolrm" ;;
    *"jax.devices('gpu')"* | *"jax.devices('tpu')"*)
        [[ -e $here/../../$JAX_PLATFORMS ]] && exit
        printf 'Traceback\\nRuntimeError: Unable to initialize backend\\n' >&2 && exit 1 ;;
esac
"""


def test_an_environment_made_for_a_cpu_gets_the_accelerators_jax_once(tmp_path):
    cluster = Cluster(tmp_path)
    words = environment(cluster)
    (cluster.work / "env/bin/python").write_text(PYTHON)
    (cluster.work / "env/bin/python").chmod(0o755)
    (cluster.work / "cuda,cpu").touch()
    for _ in range(2):
        done = cluster.run("one_host.sh", "--accelerator", "gpu", *words, 'echo "$JAX_PLATFORMS"')
        assert (done.returncode, done.stdout) == (0, "cuda,cpu\n"), done.stderr
    installs = [line for line in (cluster.work / "calls").read_text().splitlines() if "pip install" in line]
    assert len(installs) == 1
    assert installs[0].endswith("[gpu]")
    # What it says of a GPU says nothing of a TPU, which is not there.
    done = cluster.run("one_host.sh", "--accelerator", "tpu", *words, "touch started")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "one_host.sh: env finds no tpu: RuntimeError: Unable to initialize backend"
    assert not (cluster.work / "started").exists()


def test_a_cpu_run_takes_an_environment_as_it_is(tmp_path):
    cluster = Cluster(tmp_path)
    words = environment(cluster)
    (cluster.work / "env/bin/python").write_text(PYTHON)
    (cluster.work / "env/bin/python").chmod(0o755)
    assert cluster.run("one_host.sh", *words, "true").returncode == 0
    assert not (cluster.work / "calls").exists()


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


def test_a_signal_to_the_script_reaches_what_a_shell_within_started_and_waits_until_that_has_saved(tmp_path):
    cluster = Cluster(tmp_path)
    slow = WAITS.replace("echo saved", "sleep 0.7; touch saved")
    process = cluster.start("one_host.sh", *environment(cluster), 'bash -c "$1"; echo never', "shell", slow)
    while not (cluster.work / "ups").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) != 0
    assert (cluster.work / "saved").exists()


def test_a_failure_is_passed_on(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("one_host.sh", *environment(cluster), "exit 3").returncode == 3
