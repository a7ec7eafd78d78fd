"""launch/paper.sh: five stages one after the other, gone on with by the same call, on one host and as job sets."""

from __future__ import annotations

import signal
import time

from tests.launch.cluster import LAUNCH, Cluster

TOOLRM = """#!/bin/bash
# Stands in for toolrm: a stage is done once it has written its folder's card; training waits until it is let.
for word in "$@"; do case $word in output=*) folder=${word#output=} ;; esac; done
name="$1"
[[ $name == train ]] && name=train.${JAX_PROCESS_ID:-0}of${JAX_NUM_PROCESSES:-1}
echo "$name" >>starts
[[ -e $folder/card.json ]] && exit 0
if [[ $1 == train ]]; then
    echo $$ >pid
    trap 'echo saved >>saves; exit 75' TERM
    until [[ -e go ]]; do sleep 0.05; done
fi
[[ ! -e broken.$1 ]] || exit 3
mkdir -p "$folder" && echo '{}' >"$folder/card.json"
"""
WORDS = ("--recipe", "outcome", "--model", "m", "--data", "d", "--output", "out")
STAGES = ["prepare", "train", "eval", "export"]


def bring_stages(cluster):
    program = cluster.programs / "toolrm"
    program.write_text(TOOLRM)
    program.chmod(0o755)
    return cluster


def starts(folder):
    """The stages that were begun, in order."""
    return [line.partition(".")[0] for line in (folder / "starts").read_text().split()]


def killed_in_training(cluster, script, *words, signal_number=signal.SIGTERM):
    """Start it and send the script a signal while its training is under way; its code and messages."""
    process = cluster.start(script, *words)
    while not (cluster.work / "pid").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal_number)
    _, error = process.communicate(timeout=30)
    return process.returncode, error


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stopped_recipe_waits_until_its_training_has_saved_and_the_same_call_goes_on(tmp_path):
    cluster = bring_stages(Cluster(tmp_path))
    for _ in range(2):
        code, error = killed_in_training(cluster, "paper.sh", *WORDS)
        assert (code, error.splitlines()[-1]) == (75, "paper.sh: stopped by a signal; the same call goes on")
        assert not is_alive((cluster.work / "pid").read_text().strip())
        (cluster.work / "pid").unlink()
    assert (cluster.work / "saves").read_text() == "saved\n" * 2
    (cluster.work / "go").touch()
    done = cluster.run("paper.sh", *WORDS)
    assert done.returncode == 0, done.stderr
    assert starts(cluster.work) == ["prepare", "train"] * 2 + STAGES
    # Once more: every stage finds that it is done.
    assert cluster.run("paper.sh", *WORDS).returncode == 0
    assert starts(cluster.work)[-4:] == STAGES


def test_a_signal_to_one_host_reaches_the_training_of_a_recipe_in_it(tmp_path):
    cluster = bring_stages(Cluster(tmp_path))
    made = cluster.work / "env" / "bin"
    made.mkdir(parents=True)
    (made / "toolrm").symlink_to(cluster.programs / "toolrm")
    paper = ("--env", "env", "--", f"{cluster.launch}/paper.sh", *WORDS)
    code, _ = killed_in_training(cluster, "one_host.sh", *paper)
    assert code == 75
    assert (cluster.work / "saves").read_text() == "saved\n"
    assert not is_alive((cluster.work / "pid").read_text().strip())
    assert starts(cluster.work) == ["prepare", "train"]


def test_a_stage_that_fails_ends_the_recipe_and_is_named(tmp_path):
    cluster = bring_stages(Cluster(tmp_path))
    (cluster.work / "broken.prepare").touch()
    done = cluster.run("paper.sh", *WORDS)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "paper.sh: prepare failed (code 3); mend it and make the same call again"
    assert starts(cluster.work) == ["prepare"]


WHERE = ("--on", "gke", "--with", "--image i --bucket b --tpu tpu-v6e-slice --topology 4x4 --hosts 2")
ONE = ("--with-one", "--image i --bucket b --tpu tpu-v6e-slice --topology 2x2 --hosts 2")


def applied(cluster):
    return len([call for call in cluster.calls if "apply" in call])


def test_on_kubernetes_training_alone_joins_hosts_and_a_mended_stage_goes_on(tmp_path):
    cluster = bring_stages(Cluster(tmp_path))
    (cluster.bucket / "go").touch()
    (cluster.bucket / "broken.prepare").touch()
    done = cluster.run("paper.sh", *WORDS, *WHERE, *ONE)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "paper.sh: prepare failed; mend it and make the same call again"
    (cluster.bucket / "broken.prepare").unlink()
    done = cluster.run("paper.sh", *WORDS, *WHERE, *ONE)
    assert done.returncode == 0, done.stderr
    stages = (cluster.bucket / "starts").read_text().split()
    assert stages[:2] == ["prepare", "prepare"]
    assert sorted(stages[2:4]) == ["train.0of2", "train.1of2"]
    assert stages[4:] == ["eval", "export"]
    assert applied(cluster) == 5
    # The same call: all have completed. Another folder is another recipe.
    assert cluster.run("paper.sh", *WORDS, *WHERE, *ONE).returncode == 0
    assert applied(cluster) == 5
    assert cluster.run("paper.sh", *WORDS[:-1], "elsewhere", *WHERE, *ONE).returncode == 0
    assert applied(cluster) == 9


def test_on_kubernetes_the_answers_are_where_a_pod_sees_them(tmp_path):
    done = Cluster(tmp_path).run("paper.sh", *WORDS, *WHERE, *ONE, "--synth", "config=synth_servers", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert '"output=out/answers"' in done.stdout
    assert '"data.answers=/bucket/out/answers/groups"' in done.stdout
    assert "/bucket" in (LAUNCH / "jobset_tpu.yaml").read_text().split("workingDir: ")[1].split("\n")[0]


def test_on_slurm_every_stage_waits_for_the_one_before_and_training_alone_takes_several_nodes(tmp_path):
    cluster = bring_stages(Cluster(tmp_path))
    (cluster.work / "go").touch()
    options = ("--on", "slurm", "--with", "--nodes 2 --gpus 0", "--with-one", "--gpus 0 --partition p")
    done = cluster.run("paper.sh", *WORDS, *options)
    assert done.returncode == 0, done.stderr
    jobs = [call for call in cluster.calls if call[0] == "sbatch"]
    assert ["--nodes=1" in job for job in jobs] == ["--partition=p" in job for job in jobs] == [True, False, True, True]
    after = [[word for word in job if word.startswith("--dependency")] for job in jobs]
    assert after == [[], *([f"--dependency=afterok:{number}"] for number in (1001, 1002, 1003))]
