"""TPU slices by name (`v6e:8x8`): what their chips can do, and devices to compile for without having one."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolrm_jax.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Chip:
    """One kind of chip. Speeds are peaks that vendors publish, of one chip, for estimates alone.

    hbm: bytes that a program may use on one device, as the compiler says. flops: bf16 per second. ici: bytes per
    second that a chip sends over all its links within a slice. dcn: the same to other slices.
    dimensions of a slice: 2 or 3. devices: JAX devices of a chip. largest: chips of the largest slice.
    """

    hbm: float
    flops: float
    hbm_speed: float
    ici: float
    dcn: float
    dimensions: int
    devices: int
    largest: int


# Sources: cloud.google.com/tpu/docs/v5e, /v6e, /v5p and /tpu7x; links and DCN from "How to scale your model"
# (jax-ml.github.io/scaling-book), part 2. `hbm` is what libtpu 0.0.51 gives as available (held by a test).
CHIPS = {
    "v5e": Chip(15.75 * GIB, 197e12, 0.82e12, 4 * 45e9, 3.1e9, 2, 1, 256),
    "v6e": Chip(31.24 * GIB, 918e12, 1.64e12, 4 * 90e9, 12.5e9, 2, 1, 256),
    "v5p": Chip(95.73 * GIB, 459e12, 2.77e12, 6 * 90e9, 6.25e9, 3, 1, 8960),
    "tpu7x": Chip(94.74 * GIB, 2307e12, 7.38e12, 6 * 100e9, 12.5e9, 3, 2, 9216),
}
# Slices that are rented; others may be asked for where they are multiples of a host's 2 x 2 (x 1) chips.
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")


@dataclass(frozen=True, slots=True)
class Topology:
    """A number of equal slices of one kind of chip."""

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chip(self) -> Chip:
        """The chip."""
        return CHIPS[self.kind]

    @property
    def chips(self) -> int:
        """Chips of all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def devices(self) -> int:
        """JAX devices of all slices."""
        return self.chips * self.chip.devices

    @property
    def name(self) -> str:
        """As it is written: `v6e:8x8`."""
        return f"{self.kind}:{'x'.join(map(str, self.shape))}"


def parse(name: str, slices: int = 1) -> Topology:
    """The topology of a name. Raises ConfigError where there is none, with the nearest there is."""
    kind, _, sizes = name.partition(":")
    if slices < 1:
        raise ConfigError(f"num_slices={slices}: expected a positive whole number; the nearest that works is 1")
    shape = tuple(map(int, sizes.split("x"))) if re.fullmatch(r"\d+(x\d+)*", sizes) else ()
    if kind not in CHIPS:
        near = (difflib.get_close_matches(kind, CHIPS, n=1, cutoff=0.3) or ["v6e"])[0]
        raise ConfigError(
            f"topology={name}: no TPU {kind!r}; known: {', '.join(CHIPS)}; "
            f"the nearest that works is {near}:{_nearest(near, shape)}"
        )
    chip = CHIPS[kind]
    known = _rented(chip)
    if len(shape) == chip.dimensions and sizes in known and math.prod(shape) <= chip.largest:
        return Topology(kind, shape, slices)
    host = (2, 2, 1)[: chip.dimensions]
    whole = len(shape) == chip.dimensions and all(n > 0 and n % by == 0 for n, by in zip(shape, host))
    if whole and math.prod(shape) <= chip.largest and (chip.dimensions == 3 or max(shape) <= 16):
        return Topology(kind, shape, slices)
    raise ConfigError(
        f"topology={name}: a slice of {kind} has {chip.dimensions} dimensions that are multiples of "
        f"{'x'.join(map(str, host))}, and up to {chip.largest} chips; "
        f"the nearest that works is {kind}:{_nearest(kind, shape)}"
    )


def _rented(chip: Chip) -> tuple[str, ...]:
    return FLAT if chip.dimensions == 2 else DEEP


def _nearest(kind: str, shape: tuple[int, ...]) -> str:
    """The rented slice with about as many chips; the smallest where no number of chips was given."""
    wanted = max(1, math.prod(shape))
    return min(_rented(CHIPS[kind]), key=lambda one: abs(math.log(math.prod(map(int, one.split("x"))) / wanted)))


def slices_of(kind: str) -> tuple[Topology, ...]:
    """The slices of one chip that are rented, smallest first."""
    return tuple(parse(f"{kind}:{shape}") for shape in _rented(CHIPS[kind]))


def has_libtpu() -> bool:
    """Whether the TPU's compiler is installed (`pip install 'toolrm_jax[plan]'`)."""
    import importlib.util

    return importlib.util.find_spec("libtpu") is not None


def without_a_tpu() -> dict[str, str]:
    """What the environment of a process must say before JAX is imported there, to compile for TPUs and touch none."""
    return {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def devices(topology: Topology) -> Sequence[Any]:
    """Devices to compile for. Needs libtpu, and the environment of `without_a_tpu`."""
    assert os.environ.get("TPU_SKIP_MDS_QUERY"), "libtpu would ask a metadata server that is not there"
    from jax.experimental import topologies

    found = topologies.get_topology_desc(
        platform="tpu",
        topology_name=topology.name,
        num_slices=topology.slices,
        chips_per_host_bounds=_host(topology),
    ).devices
    assert len(found) == topology.devices, (len(found), topology)
    return found


def _host(topology: Topology) -> tuple[int, int, int]:
    # A slice of one chip is a host's part.
    return (1, 1, 1) if topology.shape == (1, 1) else (2, 2, 1)
