"""Compiles one step in a process of its own, and prints what came of it as JSON: see `plan`.

libtpu wants the environment set before JAX is imported, writes to stderr, and may end the process by a signal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError, ToolrmError
from toolrm_jax.parallel.topology import Topology, without_a_tpu

MARK = "toolrm plan: "


def compiled(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a new process. Raises ConfigError with its one line, where the settings are at fault."""
    environment = os.environ | without_a_tpu() | {"TF_CPP_MIN_LOG_LEVEL": "3", "TPU_STDERR_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "toolrm_jax.commands.plan_process"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not answers:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise ConfigError(f"the compiler's process ended with code {done.returncode}: {tail[-500:]}")
    answer = json.loads(answers[-1][len(MARK) :])
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer


def main() -> None:
    """Read a job on stdin, compile, print."""
    job = json.load(sys.stdin)
    try:
        answer = _compile(job)
    except ToolrmError as error:
        answer = {"error": str(error)}
    print(MARK + json.dumps(answer))


def _compile(job: dict[str, Any]) -> dict[str, Any]:
    import jax

    from toolrm_jax.models.config import TrunkConfig
    from toolrm_jax.models.rope import RopeScaling
    from toolrm_jax.parallel import topology
    from toolrm_jax.parallel.hlo import gathered_outside, totals
    from toolrm_jax.parallel.shardings import gathered_sizes
    from toolrm_jax.train.ahead import compile_step
    from toolrm_jax.train.config import TrainConfig

    where = Topology(job["kind"], tuple(job["shape"]), job["slices"])
    if job["tpu"]:
        devices = topology.devices(where)
    else:
        jax.config.update("jax_num_cpu_devices", where.devices)
        devices = jax.devices()
    config = settings.from_json(TrainConfig, job["train"])
    model = job["model"]
    shape = TrunkConfig(**model | {"rope_scaling": RopeScaling(**model["rope_scaling"])})
    done = compile_step(config, shape, devices, job["step"], stand_for=0 if job["tpu"] else where.slices)
    found = list(done.collectives)
    weights = gathered_sizes(shape, config.model.frozen_layers, done.mesh)
    return {
        "mesh": done.mesh,
        "memory": dataclasses.asdict(done.memory) if job["tpu"] else None,
        "kernels": done.kernels,
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "collectives": [[*key, count, size] for key, (count, size) in sorted(totals(found).items())],
        "gathered_outside": [
            [name, one.runs, one.bytes, one.operation] for name, one in gathered_outside(found, weights)
        ],
    }


if __name__ == "__main__":
    main()
