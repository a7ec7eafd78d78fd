"""Which accelerators each of several trainings on this machine gets: JAX takes all that it sees, memory and all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from toolrm_jax.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAME = re.compile(r"\d|GPU-|MIG-")


def shares(jobs: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """For each job what its environment gets; nothing where there is one job, or no accelerator is used.

    Raises ConfigError where there are fewer GPUs than jobs, or a TPU, which one process takes whole.
    """
    platforms = environment.get("JAX_PLATFORMS", "").split(",")[0]
    if jobs == 1 or platforms == "cpu":
        return [{} for _ in range(jobs)]
    way_out = "say jobs=1, or JAX_PLATFORMS=cpu to train on the CPU"
    if platforms in ("", "tpu") and has_tpu():
        raise ConfigError(f"jobs={jobs}: this is a TPU host, whose chips one training takes all; {way_out}")
    devices = gpus(environment)
    if not devices:
        return [{} for _ in range(jobs)]
    if jobs > len(devices):
        raise ConfigError(f"jobs={jobs}: this machine has {len(devices)} GPUs to share out; {way_out}")
    each = len(devices) // jobs
    return [{VISIBLE: ",".join(devices[job * each : (job + 1) * each])} for job in range(jobs)]


def meet(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two shares have a GPU in common."""
    return bool(set(_devices(one)) & set(_devices(other)))


def _devices(environment: Mapping[str, str]) -> list[str]:
    named = [device.strip() for device in environment.get(VISIBLE, "").split(",")]
    return list(takewhile(_NAME.match, named))  # CUDA's own rule: what is no name, such as -1, ends the list


def gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that a program here sees, as CUDA_VISIBLE_DEVICES names them."""
    try:
        told = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    count = sum(line.startswith("GPU ") for line in told.stdout.splitlines()) if told.returncode == 0 else 0
    if count and VISIBLE in environment:
        return _devices(environment)
    return [str(number) for number in range(count)]


def has_tpu(devices: Path = Path("/dev")) -> bool:
    """Whether JAX would find a TPU: its library is there, and the kernel shows chips (v4 and before; v5 and later)."""
    chips = [*devices.glob("accel[0-9]*"), *devices.glob("vfio/[0-9]*")]
    return bool(chips) and find_spec("libtpu") is not None
