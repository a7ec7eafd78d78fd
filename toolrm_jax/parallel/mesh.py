"""The mesh of devices a run computes on: its sizes from a config, its order from the hardware."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import chz
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.host_memory import keep_freed_memory
from toolrm_jax.parallel.rules import AXES, RULES, partition_spec, row_parts


@chz.chz
class MeshConfig:
    """Devices along each axis of the mesh. 0 leaves an axis to be filled with what the others leave.

    Where both `data` and `fsdp` are 0, accelerators are filled along `fsdp` (with `data` across slices), and the
    devices of a CPU, which share one memory, along `data`.
    """

    data: int = 0  # copies of the model side by side; across slices and hosts first
    fsdp: int = 0  # weights and optimiser are cut into so many parts, and gathered layer by layer
    tensor: int = 1  # heads, MLP and vocabulary are divided
    expert: int = 1  # experts of a mixture are divided
    context: int = 1  # tokens of a row are divided, for long rows


def use_all_cores() -> None:
    """Let JAX see one CPU device per core, and keep its memory; call before anything is computed.

    XLA spreads matrix products of one CPU device over all cores, but not norms, softmax or rotary positions: with a
    device per core, each its own rows of the batch, a training step takes half the time on two cores.
    """
    keep_freed_memory()
    # Too late is no fault: a program that has used JAX already keeps the devices it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def mesh_sizes(config: MeshConfig, devices: int, slices: int = 1, cpu: bool = False) -> dict[str, int]:
    """The size of every axis on `devices` devices of `slices` slices. Raises ConfigError where there is no such mesh.

    On a CPU, whose devices are made up, a mesh may leave some unused.
    """
    asked = {axis: getattr(config, axis) for axis in AXES}
    for axis, size in asked.items():
        if size < 0 or (size == 0 and axis not in ("data", "fsdp")):
            raise ConfigError(f"mesh.{axis}={size}: expected a positive whole number; the nearest that works is 1")
    if devices % slices:
        raise ConfigError(f"{devices} devices on {slices} slices: expected as many on each; leave some devices out")
    sizes = {axis: max(size, 1) for axis, size in asked.items()}
    fill = [axis for axis in ("data", "fsdp") if asked[axis] == 0]
    if len(fill) == 2:
        if not cpu:
            sizes["data"] = slices
        fill = ["data"] if cpu else ["fsdp"]
    known = math.prod(sizes.values())
    fault = ""
    if fill:
        if devices % known:
            fault = f"not divide {devices} devices"
        else:
            sizes[fill[0]] *= devices // known
    elif known > devices or (known < devices and not cpu):
        fault = f"not make {devices} devices but {known}"
    if fault:
        given = [f"mesh.{axis}={size}" for axis, size in sizes.items() if size > 1] or ["mesh.data=1"]
        fault = f"{' x '.join(given)} {'do' if len(given) > 1 else 'does'} {fault}"
    elif sizes["data"] % slices:
        fault = (
            f"mesh.data={sizes['data']}: {slices} slices need a multiple of {slices} copies of the model, since only "
            f"`data` crosses slices"
        )
    else:
        return sizes
    nearest = nearest_sizes(asked, devices, lambda sizes: sizes["data"] % slices == 0, exactly=bool(fill) or not cpu)
    raise ConfigError(f"{fault}; the nearest that works is {nearest}")


def nearest_sizes(
    asked: Mapping[str, int], devices: int, works: Callable[[Mapping[str, int]], bool], *, exactly: bool = True
) -> str:
    """What to change of the sizes asked for (0: any will do) to have a mesh that works: of the fewest axes, by least.

    exactly: it takes all devices. Something has to work.
    """

    def change(sizes: Mapping[str, int]) -> dict[str, int]:
        return {axis: size for axis, size in sizes.items() if asked[axis] not in (0, size)}

    def far(sizes: Mapping[str, int]) -> tuple[int, int, list[tuple[int, int]]]:
        changed = change(sizes)
        by = sum(abs(size - asked[axis]) for axis, size in changed.items())
        return len(changed), by, [(AXES.index(axis), size) for axis, size in changed.items()]

    meshes = (mesh for count in ([devices] if exactly else range(1, devices + 1)) for mesh in _factored(count, AXES))
    nearest = change(min(filter(works, meshes), key=far))
    return " ".join(f"mesh.{axis}={size}" for axis, size in nearest.items())


def _factored(count: int, axes: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Every way to divide `count` devices over the axes."""
    first, *rest = axes
    if not rest:
        yield {first: count}
        return
    for size in range(1, count + 1):
        if count % size == 0:
            for others in _factored(count // size, tuple(rest)):
                yield {first: size} | others


def make_mesh(
    config: MeshConfig,
    rows: int,
    devices: Sequence[Any] | None = None,
    *,
    parts: int = 1,
    length: int | None = None,
    stand_for: int = 0,
) -> Mesh:
    """The mesh of a run whose steps have `rows` rows, over all devices (or those given), as fast links lie.

    parts: into how many the rows are divided in time, before the devices divide each. length: tokens of a row.
    stand_for: CPU devices that stand for accelerators of so many slices.
    Raises ConfigError where the sizes do not fit the devices, the rows or their tokens. On a CPU with no size given, as
    many devices are used as the rows divide over.
    """
    devices = list(jax.devices() if devices is None else devices)
    cpu = devices[0].platform == "cpu" and not stand_for
    slices = stand_for or len({getattr(device, "slice_index", 0) for device in devices})
    count = len(devices)
    given = {axis: max(1, getattr(config, axis)) for axis in AXES}
    room = count // math.prod(given.values())
    if cpu and config.data == 0 and room and slices == jax.process_count() == 1:
        over = row_parts(given) * parts
        count = math.prod(given.values()) * next(n for n in range(room, 0, -1) if rows % (over * n) == 0 or n == 1)
    sizes = mesh_sizes(config, count, slices, cpu)
    over = row_parts(sizes)
    if rows % (over * parts):
        nearest = max(1, round(rows / (over * parts))) * over * parts
        axes = " x ".join(axis for axis in RULES["rows"] if sizes[axis] > 1)
        whose = f"those of each of accumulate={parts} parts" if parts > 1 else "a step's rows"
        raise ConfigError(
            f"data.rows={rows}: {whose} do not divide over {over} devices ({axes}); "
            f"the nearest that works is data.rows={nearest}"
        )
    if length is not None and length % sizes["context"]:

        def works(mesh: Mapping[str, int]) -> bool:
            return not (length % mesh["context"] or mesh["data"] % slices or rows % (row_parts(mesh) * parts))

        asked = {axis: getattr(config, axis) for axis in AXES}
        nearest = nearest_sizes(asked, count, works, exactly=not cpu or 0 in asked.values())
        raise ConfigError(
            f"mesh.context={sizes['context']}: rows of {length} tokens do not divide over it; "
            f"the nearest that works is {nearest}"
        )
    return arrange(sizes, devices[: math.prod(sizes.values())], slices)


def arrange(sizes: dict[str, int], devices: Sequence[Any], slices: int = 1) -> Mesh:
    """Devices in mesh order: neighbours along an axis lie on one another's links; only `data` crosses slices."""
    from jax.experimental import mesh_utils

    shape = tuple(sizes[axis] for axis in AXES)
    if devices[0].platform == "cpu":
        grid = np.array(devices).reshape(shape)
    elif slices > 1:
        within = (sizes["data"] // slices, *shape[1:])
        across = (slices,) + (1,) * (len(shape) - 1)
        grid = mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=True)
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def data_mesh(rows: int) -> Mesh:
    """As many devices as `rows` divide over evenly, all along `data`: for scoring, which needs no optimiser."""
    devices = jax.devices()
    count = next(n for n in range(min(rows, len(devices)), 0, -1) if rows % n == 0)
    return arrange({axis: 1 for axis in AXES} | {"data": count}, devices[:count])


def spread(mesh: Mesh, batch: Any) -> Any:
    """A batch on the devices of the mesh, its leading axis divided over those that divide rows.

    The batch holds this process's rows of the step in order (`rows_of_process`): with one process, all of them.
    """
    sharding = NamedSharding(mesh, partition_spec(("rows",)))
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    parts = row_parts(mesh.shape)

    def place(local: np.ndarray) -> jax.Array:
        rows = len(local) * parts // len(rows_of_process(mesh, parts))
        at = {row: index for index, row in enumerate(rows_of_process(mesh, rows))}
        pick = lambda index: local[[at[row] for row in range(*index[0].indices(rows))]]  # noqa: E731
        return jax.make_array_from_callback((rows, *local.shape[1:]), sharding, pick)

    return jax.tree.map(place, batch)


def rows_of_process(mesh: Mesh, rows: int) -> tuple[int, ...]:
    """Which rows of a step of `rows` this process's devices work on, and its data loader therefore reads."""
    places = NamedSharding(mesh, partition_spec(("rows",))).addressable_devices_indices_map((rows,))
    return tuple(sorted({row for (part,) in places.values() for row in range(*part.indices(rows))}))


def replicate(mesh: Mesh, values: Any) -> Any:
    """Values that every device of the mesh holds whole."""
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec()))
