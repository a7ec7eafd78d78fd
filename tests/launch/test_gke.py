"""launch/gke.sh: manifests that Kubernetes and JobSet know, and the restarts that they ask for."""

from __future__ import annotations

import copy
import time

import pytest

from tests.launch.cluster import STOPS_ONCE, Cluster

GPU = ("--gpu", "nvidia-h100-80gb", "--gpus", "8", "--hosts", "2")
TPU = ("--tpu", "tpu-v6e-slice", "--topology", "4x4", "--hosts", "2", "--slices", "1")
SHAPES = {"gpu": GPU, "tpu": TPU}


def words(*options, payload="echo pod $JAX_PROCESS_ID"):
    return ["run", "job", "--image", "r.io/i:1", "--bucket", "gs://b", *options, "--", "bash", "-c", payload]


def rendered(tmp_path, *options, payload="x"):
    yaml = pytest.importorskip("yaml")
    done = Cluster(tmp_path).run("gke.sh", *words(*options, "--dry-run", payload=payload))
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def job_of(manifest):
    (group,) = manifest["spec"]["replicatedJobs"]
    return group["template"]["spec"]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_manifest_is_a_job_set_and_its_job_is_one_of_kubernetes(kind, tmp_path):
    models = pytest.importorskip("kubeflow_trainer_api.models.jobset_v1alpha2_job_set")
    kubernetes = pytest.importorskip("kubernetes_validate")
    manifest = rendered(tmp_path, *SHAPES[kind])
    # A field that JobSet does not know is lost on the way through its types.
    assert models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": job_of(manifest)}
    kubernetes.validate(job, kubernetes.latest_version(), strict=True)
    broken = copy.deepcopy(job)
    broken["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(broken, kubernetes.latest_version(), strict=True)


def test_a_manifest_carries_the_command_word_for_word(tmp_path):
    payload = "a=\"b \\c\" & $HOME $(HOME) $$(HOME) ${name} $$ 'd' # ü: {x}"
    command = job_of(rendered(tmp_path, *GPU, payload=payload))["template"]["spec"]["containers"][0]["command"]
    # Kubernetes puts variables in for $(NAME), and reads each $$ as one $ that begins none.
    assert command == ["bash", "-c", payload.replace("$", "$$")]


@pytest.mark.parametrize("kind", SHAPES)
def test_the_bucket_the_grace_and_the_chips_are_where_they_belong(kind, tmp_path):
    manifest = rendered(tmp_path, *SHAPES[kind], "--grace", "900", "--account", "writer")
    pod = job_of(manifest)["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 900
    assert pod["serviceAccountName"] == "writer"
    (bucket,) = [volume["csi"]["volumeAttributes"] for volume in pod["volumes"] if "csi" in volume]
    assert bucket["bucketName"] == "b"
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == ({"nvidia.com/gpu": 8} if kind == "gpu" else {"google.com/tpu": 4})
    assert job_of(manifest)["completions"] == job_of(manifest)["parallelism"] == 2


def test_exit_code_75_starts_all_pods_again_whatever_the_restarts_allowed(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("gke.sh", *words(*GPU, "--wait", payload=STOPS_ONCE))
    assert done.returncode == 0, done.stderr
    assert [(cluster.state / f"jobsets/job/{pod}.log").read_text() for pod in (0, 1)] == ["went on\n"] * 2


def applied(cluster):
    return len([call for call in cluster.calls if "apply" in call])


def test_another_code_ends_the_job_and_the_same_call_starts_it_anew(tmp_path):
    cluster = Cluster(tmp_path)
    payload = "echo x >>starts.$JAX_PROCESS_ID; [ -e mended ] || exit 3"
    done = cluster.run("gke.sh", *words(*TPU, "--wait", payload=payload))
    assert (done.returncode, "job: Failed" in done.stderr) == (1, True)
    assert (cluster.bucket / "starts.0").read_text() == "x\n"
    (cluster.bucket / "mended").touch()
    done = cluster.run("gke.sh", *words(*TPU, "--wait", payload=payload))
    assert (done.returncode, "job ended before (Failed)" in done.stderr) == (0, True)
    assert (cluster.bucket / "starts.0").read_text() == "x\nx\n"


def test_a_command_that_cannot_be_written_down_starts_nothing(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("gke.sh", *words(*GPU, payload="echo a\necho b"))
    assert done.returncode == 2
    assert done.stderr == "gke.sh: the command holds a control character\n"
    assert cluster.calls == []


def test_a_cluster_without_job_sets_is_told_before_anything_is_started(tmp_path):
    cluster = Cluster(tmp_path, "no jobset")
    done = cluster.run("gke.sh", *words(*GPU))
    assert done.returncode == 2
    assert "gke.sh: the cluster is not reached, or has no JobSet" in done.stderr
    assert not any("apply" in call for call in cluster.calls)


UNTIL_LET = "until [ -e go ]; do sleep 0.1; done"


def test_the_same_job_is_joined_while_it_is_under_way_and_another_of_its_name_is_refused(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("gke.sh", *words(*GPU, payload=UNTIL_LET)).returncode == 0
    for other in (words(*GPU), words(*GPU, "--grace", "7", payload=UNTIL_LET)):
        refused = cluster.run("gke.sh", *other)
        assert (refused.returncode, "is under way with another command or options" in refused.stderr) == (2, True)
    joined = cluster.start("gke.sh", *words(*GPU, "--wait", payload=UNTIL_LET))
    time.sleep(0.5)
    (cluster.bucket / "go").touch()
    _, error = joined.communicate(timeout=60)
    assert (joined.returncode, "joining job" in error) == (0, True)
    assert applied(cluster) == 1


def test_a_job_that_has_completed_is_done_unless_it_is_another_or_is_wanted_again(tmp_path):
    cluster = Cluster(tmp_path)
    for _ in range(2):
        assert cluster.run("gke.sh", *words(*GPU, "--wait")).returncode == 0
    assert applied(cluster) == 1
    assert cluster.run("gke.sh", *words(*GPU, "--wait", "--again")).returncode == 0
    assert cluster.run("gke.sh", *words(*GPU, "--wait", payload="true")).returncode == 0
    assert applied(cluster) == 3
    assert cluster.run("gke.sh", "delete", "job").returncode == 0
    assert not (cluster.state / "jobsets/job").exists()


def test_a_look_that_gets_no_answer_ends_no_wait_and_starts_nothing(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.falls_silent("kubectl", 1)
    refused = cluster.run("gke.sh", *words(*GPU))
    assert (refused.returncode, applied(cluster)) == (2, 0)
    assert "TLS handshake timeout\ngke.sh: the cluster is not reached" in refused.stderr
    assert cluster.run("gke.sh", *words(*GPU, payload=UNTIL_LET)).returncode == 0
    waiting = cluster.start("gke.sh", *words(*GPU, "--wait", payload=UNTIL_LET))
    time.sleep(0.5)
    cluster.falls_silent("kubectl", 3)
    time.sleep(1)
    (cluster.bucket / "go").touch()
    _, error = waiting.communicate(timeout=60)
    assert (waiting.returncode, error.count("TLS handshake timeout")) == (0, 3)


@pytest.mark.slow
def test_a_cluster_that_stays_silent_is_told_and_the_job_may_be_under_way(tmp_path):
    cluster = Cluster(tmp_path)
    assert cluster.run("gke.sh", *words(*GPU, payload=UNTIL_LET)).returncode == 0
    waiting = cluster.start("gke.sh", *words(*GPU, "--wait", payload=UNTIL_LET), TOOLRM_POLL="0.02")
    time.sleep(0.5)
    cluster.falls_silent("kubectl", 1000)
    _, error = waiting.communicate(timeout=120)
    (cluster.bucket / "go").touch()
    assert waiting.returncode == 2
    assert "the cluster does not answer; job may be under way" in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("fault", "says"),
    [("flat bucket", "gs://b: has no hierarchical namespace"), ("read only", "gs://b: cannot be written")],
)
def test_a_bucket_that_checkpoints_cannot_rest_on_is_told_before_anything_is_started(tmp_path, fault, says):
    cluster = Cluster(tmp_path, fault)
    done = cluster.run("gke.sh", *words(*GPU))
    assert (done.returncode, applied(cluster)) == (2, 0)
    assert done.stderr.splitlines()[-1].startswith(f"gke.sh: {says}")
