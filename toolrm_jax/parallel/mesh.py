"""Which devices a batch is spread over: rows of a step side by side, parameters on every device."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def use_all_cores() -> None:
    """Let JAX see one CPU device per core; call before anything is computed. Without effect on accelerators.

    XLA spreads matrix products of one CPU device over all cores, but not norms, softmax or rotary positions: with a
    device per core, each its own rows of the batch, a training step takes half the time on two cores.
    """
    # Too late is no fault: a program that has used JAX already keeps the devices it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def data_mesh(rows: int) -> Mesh:
    """As many devices as `rows` divide over evenly, along one axis `data`."""
    devices = jax.devices()
    count = next(n for n in range(min(rows, len(devices)), 0, -1) if rows % n == 0)
    return Mesh(devices[:count], ("data",), axis_types=(AxisType.Auto,))


def spread(mesh: Mesh, batch: Any) -> Any:
    """A batch on the devices of the mesh, its leading axis divided over `data`."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicate(mesh: Mesh, values: Any) -> Any:
    """Values that every device of the mesh holds whole."""
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec()))
