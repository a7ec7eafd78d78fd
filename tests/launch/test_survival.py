"""Two processes trained through each launch script and stopped in mid-run end as two that were left alone."""

import os
import signal
import threading
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.commands.conftest import bfcl_folder, tiny_model  # noqa: F401
from tests.launch.cluster import Cluster
from toolrm_jax.cli import main

STEPS, STOP_AT = 120, 30
SLICE = ("run", "pod", "--zone", "z", "--type", "v6e-8", "--bucket", "gs://b")
JOB = ("--name", "train", "--nodes", "2", "--gpus", "0", "--wait")
JOBSET = ("run", "job", "--image", "i", "--bucket", "b", "--gpu", "nvidia-l4", "--hosts", "2", "--wait")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Most of the time of a start is XLA's: what one run has compiled the others find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def training(bfcl_folder, tiny_model, tmp_path_factory):  # noqa: F811
    """The words of a short training, less its output."""
    data = tmp_path_factory.mktemp("data") / "groups"
    sides = ("train.categories=live_simple", "held_out.categories=simple_python")
    assert main(["prepare", f"path={bfcl_folder}", f"output={data}", *sides]) == 0
    return [
        *("toolrm", "train", f"model.path={tiny_model}", f"data.train={data / 'train'}"),
        *(f"data.held_out={data / 'held_out'}", "model.compute_dtype=float32", "data.row_length=512", "data.rows=4"),
        *("data.epochs=400", f"steps={STEPS}", "evaluate_every=40", "save_every=10", "output=run"),
    ]


def run(cluster, kind, training):
    if kind == "tpu":
        return cluster.run("tpu_vm.sh", *SLICE, "--wheel", cluster.wheel, "--", *training)
    script, options = {"slurm": ("slurm.sh", JOB), "gke": ("gke.sh", JOBSET)}[kind]
    return cluster.run(script, *options, "--", *training)


def folder_of(cluster, kind):
    return (cluster.work if kind == "slurm" else cluster.bucket) / "run"


def take_away(cluster, kind):
    """What the platform does to a preempted run: SIGTERM to one host's processes, or (Slurm) to every task."""
    if kind == "tpu":
        host = cluster.state / "slices/pod/pod/1/toolrm/pid"
        (cluster.state / "slices/pod/states").write_text("SUSPENDED")
        os.killpg(int(host.read_text()), signal.SIGTERM)
        return
    (tasks,) = cluster.state.glob("jobs*/*/tasks")
    pids = [int(pid) for pid in tasks.read_text().split()]
    for pid in pids if kind == "slurm" else pids[1:]:
        os.kill(pid, signal.SIGTERM)


def preempted(cluster, kind, training):
    """Run it, and take it away once; says how many steps were on record then."""
    seen = []

    def watch():
        metrics = folder_of(cluster, kind) / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count('"train"') < STOP_AT:
            time.sleep(0.01)
        take_away(cluster, kind)
        seen.append(metrics.read_text().count('"train"'))

    threading.Thread(target=watch, daemon=True).start()
    return run(cluster, kind, training), seen


def saved(folder):
    path = (folder / "checkpoints" / str(STEPS) / "arrays").absolute()
    reader = ocp.PyTreeCheckpointer()
    known = reader.metadata(path).item_metadata.tree
    found = reader.restore(path, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), known))
    return {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in jax.tree.leaves_with_path(found)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tpu", "slurm", "gke"])
def test_a_run_taken_away_in_mid_run_ends_with_the_parameters_of_one_left_alone(kind, training, tmp_path):
    straight, taken = Cluster(tmp_path / "straight"), Cluster(tmp_path / "taken")
    for cluster in (straight, taken):
        cluster.bring_toolrm()
    done = run(straight, kind, training)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    done, seen = preempted(taken, kind, training)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert seen, "the run ended before it was taken away"
    assert STOP_AT <= seen[0] < STEPS
    if kind == "tpu":
        assert taken.verbs().count("create") == 2
    if kind == "slurm":
        assert ["scontrol", "requeue", "1001"] in taken.calls
    a, b = saved(folder_of(straight, kind)), saved(folder_of(taken, kind))
    assert a.keys() == b.keys()
    assert any("params" in name for name in a)
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name
    metrics = [(folder_of(each, kind) / "metrics.jsonl").read_bytes() for each in (straight, taken)]
    assert metrics[0] == metrics[1]
