"""`toolrm train` as it is started on several hosts: once on each, with the same words and one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

from toolrm_jax.commands.trained import open_run
from toolrm_jax.files import is_complete


def test_two_hosts_train_one_model_by_the_same_command_in_place_of_another(finished, tiny_model, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    sides = [f"data.{side}={finished / 'groups' / side}" for side in ("train", "held_out")]
    rows = ("data.row_length=512", "data.rows=2", "data.epochs=20", "data.held_out_groups=2")
    words = (
        "train",
        "output=run",
        f"model.path={tiny_model}",
        "model.compute_dtype=float32",
        *sides,
        *rows,
        "steps=3",
        "overwrite=true",
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        together = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free.getsockname()[1]}", "JAX_NUM_PROCESSES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "toolrm_jax", *words],
            cwd=tmp_path,
            env=os.environ | together | {"JAX_PROCESS_ID": str(number), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said[0][-2000:] + said[1][-2000:]
    run = tmp_path / "run"
    assert [f"process {number} of 2" in text for number, text in enumerate(said)] == [True, True]
    assert is_complete(run)
    metrics = (run / "metrics.jsonl").read_text()
    assert metrics.count('"train"') == 3
    assert (run / "hosts" / "1" / "metrics.jsonl").read_text() == metrics
    assert open_run(run)[1] == 3
