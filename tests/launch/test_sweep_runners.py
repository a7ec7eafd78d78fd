"""`toolrm sweep` through slurm.sh and gke.sh: a job for each run, joined by its name where a killed sweep left it."""

import subprocess
import sys

import pytest

from tests.launch.cluster import LAUNCH, Cluster

TRAINS = """#!/bin/sh
for word in "$@"; do case $word in output=*) folder=${word#output=} ;; esac; done
case $folder in *seed=0) [ ! -e broken ] || exit 3 ;; esac
mkdir -p "$folder" && echo "$@" >>"$folder/words" && echo '{}' >"$folder/card.json"
"""
OPTIONS = {"slurm": "--gpus 0 --logs logs", "jobset": "--image i --bucket b --gpu nvidia-l4 --gpus 1"}


def sweep(cluster, runner, *more):
    """A sweep of two runs where `toolrm train` is a script that does nothing but finish."""
    # On Kubernetes the runs are in the bucket, so that is where the sweep is called.
    here = cluster.bucket if runner == "jobset" else cluster.work
    for side in ("t", "h"):
        (here / side).mkdir(exist_ok=True)
        (here / side / "card.json").write_text("{}")
    program = cluster.programs / "toolrm"
    program.write_text(TRAINS)
    program.chmod(0o755)
    words = ("seed=0:2", "model.path=m", "data.train=t", "data.held_out=h", "output=out", *(more or ("jobs=2",)))
    runner_words = (f"runner={runner}", f"launch={LAUNCH}", f"options={OPTIONS[runner]}")
    command = [sys.executable, "-W", "ignore", "-m", "toolrm_jax", "sweep", *runner_words, *words]
    done = subprocess.run(
        command, cwd=here, env=cluster.environment, capture_output=True, text=True, check=False, timeout=120
    )
    return here / "out", done


@pytest.mark.parametrize("runner", ["slurm", "jobset"])
def test_each_run_is_a_job_of_its_own_and_a_second_call_submits_none(tmp_path, runner):
    cluster = Cluster(tmp_path)
    folder, done = sweep(cluster, runner)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "runs/seed=1/words").read_text().count("seed=1") == 2  # the setting, and the folder's name
    submitted = [call for call in cluster.calls if call[0] == "sbatch" or "apply" in call]
    assert len(submitted) == 2
    assert sweep(cluster, runner)[1].returncode == 0
    assert len([call for call in cluster.calls if call[0] == "sbatch" or "apply" in call]) == 2


@pytest.mark.parametrize(("runner", "code"), [("slurm", 3), ("jobset", 1)])
def test_a_job_that_fails_is_shown_the_others_end_and_the_next_call_tries_it_again(tmp_path, runner, code):
    cluster = Cluster(tmp_path)
    broken = (cluster.bucket if runner == "jobset" else cluster.work) / "broken"
    broken.touch()
    folder, done = sweep(cluster, runner, "jobs=1")
    assert done.returncode == 1
    assert f"seed=0: failed (code {code})" in done.stdout
    assert "seed=1: done" in done.stdout
    assert not (folder / "runs/seed=0").exists()
    broken.unlink()
    done = sweep(cluster, runner, "jobs=1")[1]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed=0: done" in done.stdout
    assert (folder / "runs/seed=1/words").read_text().count("\n") == 1
