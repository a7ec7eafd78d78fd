"""A machine room on this machine: the stand-ins on PATH, their state, and the launch scripts run among them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

LAUNCH = Path(__file__).parent.parent.parent / "launch"
PROGRAM = Path(__file__).with_name("stand_in.py")
NAMES = ("gcloud", "gcsfuse", "python3", "sbatch", "srun", "squeue", "scontrol", "kubectl")
STOPS_ONCE = 'f=stopped.${JAX_PROCESS_ID:-$SLURM_PROCID}; [ -e "$f" ] && echo "went on" && exit 0; touch "$f"; exit 75'
"""A payload that a signal stops at its first start, on every host."""


class Cluster:
    """Below `folder`: the programs, their state, the bucket, and the working directory of the scripts."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.state, self.programs, self.work = folder / "state", folder / "programs", folder / "work"
        self.bucket = self.state / "bucket"
        for path in (self.bucket, self.programs, self.work):
            path.mkdir(parents=True)
        (self.state / "faults.json").write_text(json.dumps(faults))
        self.wheel = folder / "toolrm_jax-1-py3-none-any.whl"
        self.wheel.write_bytes(b"wheel")
        for name in NAMES:
            file = self.programs / name
            file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {PROGRAM} {name} "$@"\n')
            file.chmod(0o755)

    def bring_toolrm(self) -> None:
        """Put the command under test on PATH."""
        program = self.programs / "toolrm"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W ignore -m toolrm_jax "$@"\n')
        program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.programs}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "STAND_IN": str(self.state), "TOOLRM_POLL": "0.2", "JAX_PLATFORMS": "cpu"}

    launch = LAUNCH

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(LAUNCH / script), *map(str, words)],
            cwd=self.work,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(script, *words, **environment)
        out, error = process.communicate(timeout=900)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def falls_silent(self, program: str, times: int) -> None:
        """From here on, so many looks of a program get no answer."""
        (self.state / f"silent.{program}").write_text(str(times))

    @property
    def calls(self) -> list[list[str]]:
        """Every call of a stand-in: its program and arguments, in order."""
        file = self.state / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def verbs(self) -> list[str]:
        """Of each gcloud call on TPUs its verb, and of a command on hosts what `tpu_host.sh` does there."""
        found = []
        for program, *words in self.calls:
            if program == "gcloud" and words[:2] == ["compute", "tpus"]:
                command = next((w for w in words if w.startswith("--command=")), "")
                found.append(command.split()[2] if command else words[3])
        return [verb for verb in found if verb != "describe"]
