"""launch/tpu_vm.sh against a stand-in of gcloud: what is asked for in which order, and what nothing is paid for."""

from __future__ import annotations

import time

import pytest

from tests.launch.cluster import STOPS_ONCE, Cluster


def words(cluster, *options, payload="echo hello from $JAX_PROCESS_ID"):
    base = ["run", "pod", "--zone", "z", "--type", "v6e-8", "--bucket", "gs://b", "--wheel", cluster.wheel]
    return [*base, *options, "--", "bash", "-c", payload]


def test_a_run_creates_installs_starts_on_every_host_and_shows_worker_0s_log(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("tpu_vm.sh", *words(cluster))
    assert done.returncode == 0, done.stderr
    assert cluster.verbs() == ["create", "scp", "install", "start", "follow"]
    assert "hello from 0" in done.stdout
    assert "hello from 1" not in done.stdout
    assert (cluster.state / "slices/pod/pod/1/toolrm/log").read_text() == "hello from 1\n"
    installs = [call for call in cluster.calls if call[:4] == ["python3", "-m", "uv", "pip"]]
    assert [call[-1] for call in installs] == [f"{cluster.wheel.name}[tpu]"] * 2
    assert "pod stands, and costs" in done.stderr


def test_two_slices_are_one_request_and_each_hosts_are_told(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("tpu_vm.sh", *words(cluster, "--slices", "2", "--spot", "--delete"))
    assert done.returncode == 0, done.stderr
    assert cluster.verbs() == [
        *("create", "scp", "install", "scp", "install"),
        *("start", "start", "follow", "delete"),
    ]
    (create,) = [call for call in cluster.calls if "create" in call]
    assert {"--node-count=2", "--node-prefix=pod", "--accelerator-type=v6e-8", "--spot"} <= set(create)
    assert not (cluster.state / "slices/pod").exists()


def test_a_slice_that_is_there_is_used_again_and_the_wheel_is_not_installed_twice(tmp_path):
    cluster = Cluster(tmp_path)
    for _ in range(2):
        assert cluster.run("tpu_vm.sh", *words(cluster)).returncode == 0
    assert cluster.verbs().count("create") == 1
    assert len([call for call in cluster.calls if call[:4] == ["python3", "-m", "uv", "pip"]]) == 2


def test_a_run_that_a_signal_stopped_is_started_again_once_all_hosts_are_done(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("tpu_vm.sh", *words(cluster, payload=STOPS_ONCE))
    assert done.returncode == 0, done.stderr
    assert cluster.verbs()[3:] == ["start", "follow", "settle", "scp", "install", "start", "follow"]
    assert "start 1 of pod ended early (code 75)" in done.stderr
    assert "went on" in done.stdout


def test_a_suspended_request_is_deleted_and_made_again(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("tpu_vm.sh", *words(cluster)).returncode == 0
    (cluster.state / "slices/pod/states").write_text("SUSPENDING SUSPENDED")
    assert cluster.run("tpu_vm.sh", *words(cluster)).returncode == 0
    assert cluster.verbs()[5:] == ["delete", "create", "scp", "install", "start", "follow"]


def test_a_request_that_has_failed_is_told_with_its_reason_and_not_made_again(tmp_path):
    cluster = Cluster(tmp_path, "fails")
    done = cluster.run("tpu_vm.sh", *words(cluster))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "tpu_vm.sh: pod is FAILED: SERVICE\tThe requested topology is not offered in this zone; "
        "mend it, then launch/tpu_vm.sh delete pod --zone z"
    )
    assert cluster.verbs() == ["create"]


def test_no_answer_is_not_taken_for_a_slice_that_is_gone(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("tpu_vm.sh", *words(cluster)).returncode == 0
    cluster.falls_silent("gcloud", 3)
    done = cluster.run("tpu_vm.sh", *words(cluster))
    assert (done.returncode, done.stderr.count("UNAVAILABLE")) == (0, 3)
    assert cluster.verbs().count("create") == 1


@pytest.mark.slow
def test_where_there_is_no_answer_for_long_the_slice_may_stand_and_cost(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.falls_silent("gcloud", 1000)
    done = cluster.run("tpu_vm.sh", *words(cluster), TOOLRM_POLL="0.02")
    assert done.returncode == 2
    assert "pod: gcloud does not answer; the slice may stand, and cost" in done.stderr.splitlines()[-1]


def test_a_run_under_way_is_followed_and_a_newer_wheel_waits_until_it_has_ended(tmp_path):
    cluster = Cluster(tmp_path)
    payload = "until [ -e go ]; do sleep 0.1; done; echo ended"
    first = cluster.start("tpu_vm.sh", *words(cluster, payload=payload))
    while "follow" not in cluster.verbs():
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    cluster.wheel.write_bytes(b"another wheel")
    second = cluster.start("tpu_vm.sh", *words(cluster, payload=payload))
    while cluster.verbs().count("follow") < 2 and second.poll() is None:
        time.sleep(0.05)
    (cluster.bucket / "go").touch()
    out, error = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "ended\n")
    assert error.count("what is under way runs on with its own wheel") == 2
    made = [call for call in cluster.calls if call[:4] == ["python3", "-m", "uv", "venv"]]
    assert len(made) == 2
    assert cluster.run("tpu_vm.sh", *words(cluster)).returncode == 0
    assert len([call for call in cluster.calls if call[:4] == ["python3", "-m", "uv", "venv"]]) == 4


def test_a_bucket_that_the_slices_own_account_may_not_write_is_told_before_the_command_starts(tmp_path):
    cluster = Cluster(tmp_path)
    (cluster.programs / "touch").write_text("#!/bin/sh\nexit 1\n")
    (cluster.programs / "touch").chmod(0o755)
    done = cluster.run("tpu_vm.sh", *words(cluster))
    assert done.returncode == 2
    assert "gs://b cannot be written with the right of the slice's service account" in done.stderr
    assert "start" not in cluster.verbs()


def test_a_command_that_fails_is_not_started_again_and_its_code_is_the_scripts(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("tpu_vm.sh", *words(cluster, payload="echo broken; exit 3"))
    assert done.returncode == 3
    assert cluster.verbs().count("start") == 1
    assert "broken" in done.stdout


@pytest.mark.parametrize(
    ("fault", "says", "asked"),
    [
        ("no quota", "v6e-8 was not granted in z: ERROR: (gcloud.alpha) RESOURCE_EXHAUSTED: Quota limit", ["create"]),
        ("read only", "gs://b: cannot be written", []),
        ("no bucket", "gs://b: there is no such bucket", []),
        ("flat bucket", "gs://b: has no hierarchical namespace", []),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_paid_for(tmp_path, fault, says, asked):
    cluster = Cluster(tmp_path, fault)
    done = cluster.run("tpu_vm.sh", *words(cluster))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"tpu_vm.sh: {says}")
    assert cluster.verbs() == asked
    assert not (cluster.state / "slices").exists()
