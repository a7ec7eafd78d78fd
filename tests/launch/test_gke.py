"""launch/gke.sh: manifests that Kubernetes and JobSet know, and the restarts that they ask for."""

from __future__ import annotations

import copy

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
    payload = "a=\"b \\c\" & $HOME $(HOME) ${name} 'd' # ü: {x}"
    command = job_of(rendered(tmp_path, *GPU, payload=payload))["template"]["spec"]["containers"][0]["command"]
    # Kubernetes puts variables in for $(NAME); $$( is how it writes $( itself.
    assert command == ["bash", "-c", payload.replace("$(", "$$(")]


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


def test_another_code_ends_the_job(tmp_path):
    cluster = Cluster(tmp_path)
    done = cluster.run("gke.sh", *words(*TPU, "--wait", payload="echo x >>starts.$JAX_PROCESS_ID; exit 3"))
    assert (done.returncode, "job: Failed" in done.stderr) == (1, True)
    assert (cluster.bucket / "starts.0").read_text() == "x\n"


def test_a_cluster_without_job_sets_is_told_before_anything_is_started(tmp_path):
    cluster = Cluster(tmp_path, "no jobset")
    done = cluster.run("gke.sh", *words(*GPU))
    assert done.returncode == 2
    assert "gke.sh: the cluster is not reached, or has no JobSet" in done.stderr
    assert not any("apply" in call for call in cluster.calls)


def test_a_job_of_that_name_is_joined(tmp_path):
    cluster = Cluster(tmp_path)
    for _ in range(2):
        assert cluster.run("gke.sh", *words(*GPU, "--wait")).returncode == 0
    assert len([call for call in cluster.calls if "apply" in call]) == 1
    assert cluster.run("gke.sh", "delete", "job").returncode == 0
    assert not (cluster.state / "jobsets/job").exists()
