"""launch/slurm.sh against stand-ins of Slurm's programs: what is submitted, requeued, waited for and joined."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.launch.cluster import STOPS_ONCE, Cluster


def words(*options, payload="echo task $SLURM_PROCID"):
    return ["--name", "run", "--nodes", "2", "--gpus", "0", "--logs", "logs", *options, "--", "bash", "-c", payload]


def test_a_job_has_one_task_a_node_goes_back_into_the_queue_and_is_told_before_its_limit(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("slurm.sh", *words("--partition", "p", "--after", "7", "--gpus", "8", "--grace", "90"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1001"
    (sbatch,) = [call for call in cluster.calls if call[0] == "sbatch"]
    asked = {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--requeue", "--signal=TERM@90"}
    assert asked | {"--partition=p", "--dependency=afterok:7"} <= set(sbatch)


def test_waiting_gives_the_commands_own_code_and_every_node_ran_it(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("slurm.sh", *words("--wait", payload="echo task $SLURM_PROCID; exit 3"))
    assert done.returncode == 3, done.stderr
    log = (cluster.work / "logs/run-1001.log").read_text()
    assert sorted(log.split("\n")[:2]) == ["task 0", "task 1"]


def test_the_tasks_have_the_environment_that_a_setup_leaves_even_one_that_reads_what_is_not_set(tmp_path):
    cluster = Cluster(tmp_path)
    (cluster.work / "setup.sh").write_text('[ -z "$NOT_SET_ANYWHERE" ] && export FROM_SETUP=there\n')
    done = cluster.run("slurm.sh", *words("--wait", "--setup", "setup.sh", payload="echo $FROM_SETUP"))
    assert done.returncode == 0, done.stderr
    assert (cluster.work / "logs/run-1001.log").read_text() == "there\n" * 2


def test_a_run_that_a_signal_stopped_goes_back_into_the_queue_under_its_number(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("slurm.sh", *words("--wait", payload=STOPS_ONCE))
    assert done.returncode == 0, done.stderr
    assert ["scontrol", "requeue", "1001"] in cluster.calls
    assert [call[0] for call in cluster.calls].count("sbatch") == 1
    assert (cluster.work / "logs/run-1001.log").read_text().count("went on") == 2


def test_a_job_of_that_name_is_joined_not_submitted_twice(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("slurm.sh", *words(payload="until [ -e go ]; do sleep 0.1; done; exit 4")).returncode == 0
    refused = cluster.run("slurm.sh", *words())
    assert (refused.returncode, "is queued already (1001)" in refused.stderr) == (2, True)
    waiting = cluster.start("slurm.sh", *words("--wait"))
    time.sleep(1)
    (cluster.work / "go").touch()
    waiting.communicate(timeout=60)
    assert waiting.returncode == 4
    assert [call[0] for call in cluster.calls].count("sbatch") == 1


ENDLESS = "touch up.$SLURM_PROCID; until [ -e go ]; do sleep 0.1; done"


def waiting_for_a_job(cluster, payload, **environment):
    """slurm.sh waiting for a job that runs on both nodes."""
    process = cluster.start("slurm.sh", *words("--wait", payload=payload), **environment)
    while not all((cluster.work / f"up.{node}").exists() for node in (0, 1)):
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_job_that_is_gone_without_an_end_is_no_success(tmp_path, forgotten):
    cluster = Cluster(tmp_path)
    process = waiting_for_a_job(cluster, ENDLESS)
    job = cluster.state / "jobs/1001"
    os.kill(int((job / "controller").read_text()), signal.SIGKILL)  # its node is lost, and with it the batch script
    if forgotten:
        (job / "forgotten").touch()  # squeue no longer knows such a number
    (job / "alive").unlink()
    _, error = process.communicate(timeout=30)
    (cluster.work / "go").touch()
    assert process.returncode == 2
    assert "slurm.sh: job 1001 (run) is gone without having ended: cancelled, or its node lost" in error


def test_a_queue_that_does_not_answer_for_a_while_ends_no_wait(tmp_path):
    cluster = Cluster(tmp_path)
    process = waiting_for_a_job(cluster, f"{ENDLESS}; exit 4")
    cluster.falls_silent("squeue", 3)
    time.sleep(1)
    (cluster.work / "go").touch()
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error.count("Unable to contact slurm controller")) == (4, 3)


@pytest.mark.slow
def test_a_queue_that_stays_silent_is_told_and_the_job_may_be_under_way(tmp_path):
    cluster = Cluster(tmp_path)
    process = waiting_for_a_job(cluster, ENDLESS, TOOLRM_POLL="0.02")
    cluster.falls_silent("squeue", 1000)
    _, error = process.communicate(timeout=120)
    (cluster.work / "go").touch()
    assert process.returncode == 2
    assert "the queue does not answer; job 1001 (run) may be under way" in error.splitlines()[-1]


def test_nothing_is_submitted_while_the_queue_does_not_answer(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.falls_silent("squeue", 1)
    done = cluster.run("slurm.sh", *words())
    assert done.returncode == 2
    assert "Unable to contact slurm controller" in done.stderr
    assert "so nothing is submitted" in done.stderr.splitlines()[-1]
    assert "sbatch" not in [call[0] for call in cluster.calls]
