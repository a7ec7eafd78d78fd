"""Starting JAX on several hosts: one process a host, found from the environment, or told.

Told, on any machines: JAX_COORDINATOR_ADDRESS=HOST:PORT (of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
Found: a TPU pod's own variables or its metadata server; Slurm (`srun`, one task a node or one a GPU).
"""

from __future__ import annotations

import glob
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import numpy as np

from toolrm_jax.errors import ConfigError, ToolrmError

T = TypeVar("T")
TOLD = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
PATIENCE = 15.0
"""Seconds that a process which has failed waits for the others to fail alike."""


@dataclass(frozen=True, slots=True)
class Start:
    """How the processes find one another, and what `jax.distributed.initialize` is told beyond what it finds."""

    how: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def find(environment: Mapping[str, str], tpu_chips: bool) -> Start | None:
    """How this process should join others; None where it is alone. Raises ConfigError for half-told settings."""
    told = [name for name in TOLD if environment.get(name)]
    if told:
        return _told(environment, told)
    if all(environment.get(name) for name in SLURM) and _whole(environment, "SLURM_NTASKS") > 1:
        return _slurm(environment)
    if tpu_chips and environment.get("JAX_PLATFORMS", "tpu").startswith("tpu"):
        hosts = next((environment[name] for name in TPU_HOSTS if environment.get(name)), None)
        alone = hosts is not None and "," not in hosts and not environment.get("MEGASCALE_COORDINATOR_ADDRESS")
        return None if alone or ("TPU_SKIP_MDS_QUERY" in environment and hosts is None) else Start("TPU pod")
    return None


def _told(environment: Mapping[str, str], told: list[str]) -> Start:
    if missing := [name for name in TOLD if name not in told]:
        raise ConfigError(f"{told[0]} is set but {missing[0]} is not; set {', '.join(TOLD)} together, or none")
    address, count, number = environment[TOLD[0]], _whole(environment, TOLD[1]), _whole(environment, TOLD[2])
    if not address.rpartition(":")[2].isdigit():
        raise ConfigError(f"{TOLD[0]}={address}: expected HOST:PORT of process 0")
    if not 0 <= number < count:
        nearest = min(max(number, 0), max(count - 1, 0))
        raise ConfigError(f"{TOLD[2]}={number}: with {TOLD[1]}={count} expected 0 to {count - 1}, such as {nearest}")
    return Start("explicit settings", {"coordinator_address": address, "num_processes": count, "process_id": number})


def _slurm(environment: Mapping[str, str]) -> Start:
    """JAX gives a Slurm task the one GPU of its number on the node; a task that has the node alone takes all."""
    nodes = _whole(environment, "SLURM_STEP_NUM_NODES") if environment.get("SLURM_STEP_NUM_NODES") else 0
    if nodes and nodes == _whole(environment, "SLURM_NTASKS"):
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        on_node = environment.get("SLURM_GPUS_ON_NODE", "")
        count = len(visible.split(",")) if visible else int(on_node) if on_node.isdigit() else 0
        if count:
            return Start("Slurm, one task a node", {"local_device_ids": list(range(count))})
    return Start("Slurm")


def _whole(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.lstrip("-").isdigit():
        raise ConfigError(f"{name}={text}: expected a whole number")
    return int(text)


def has_tpu_chips() -> bool:
    """Whether this machine has TPU chips, by their device files."""
    return bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))


def start(environment: Mapping[str, str] | None = None) -> str | None:
    """Join the other processes, where there are any; call before anything is computed. Says how, in one line.

    Raises ConfigError where the coordinator does not answer.
    """
    found = find(os.environ if environment is None else environment, has_tpu_chips())
    if found is None:
        return None
    try:
        jax.distributed.initialize(**found.arguments)
    except (RuntimeError, ValueError) as error:
        line = str(error).splitlines()[0][:200]
        raise ConfigError(f"{found.how}: the processes do not find one another ({line}); see {TOLD[0]}") from None
    return f"process {jax.process_index()} of {jax.process_count()} ({found.how}), {jax.local_device_count()} devices"


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def first_then_all(make: Callable[[], T]) -> T:
    """Call `make` in the first process, and then, when it is done, in the others: they find its files there."""
    if jax.process_count() == 1:
        return make()
    from jax.experimental import multihost_utils

    if is_first():
        made = make()
        multihost_utils.sync_global_devices("first_then_all")
        return made
    multihost_utils.sync_global_devices("first_then_all")
    return make()


@contextmanager
def failing_for_all() -> Iterator[None]:
    """Inside, an error of one of several processes ends it for good, PATIENCE seconds after it was raised at most.

    A process that leaves waits five minutes at JAX's barrier for the others, which wait for it in a computation. That
    it is gone they notice: on CPUs at once, elsewhere by its missing heartbeat.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() > 1:
            timer = threading.Timer(PATIENCE, _leave, [2 if isinstance(error, ToolrmError) else 1])
            timer.daemon = True
            timer.start()
        raise


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: a signal may reach one host alone, and all must stop at one step."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))
