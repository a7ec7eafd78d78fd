"""From the sizes a user gives to a mesh: what is filled, and what is refused with the nearest choice."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, mesh_sizes
from toolrm_jax.parallel.rules import AXES


def sizes(config: MeshConfig, devices: int, slices: int = 1, cpu: bool = False) -> dict[str, int]:
    """Without the axes of size 1."""
    return {axis: size for axis, size in mesh_sizes(config, devices, slices, cpu).items() if size > 1}


def test_accelerators_are_filled_along_fsdp_slices_along_data_and_cpu_devices_along_data():
    assert sizes(MeshConfig(), 8) == {"fsdp": 8}
    assert sizes(MeshConfig(), 8, slices=2) == {"data": 2, "fsdp": 4}
    assert sizes(MeshConfig(), 8, cpu=True) == {"data": 8}
    assert sizes(MeshConfig(tensor=2, context=2), 16) == {"fsdp": 4, "tensor": 2, "context": 2}


def test_an_axis_that_is_given_is_kept_and_the_other_filled():
    assert sizes(MeshConfig(data=4), 8) == {"data": 4, "fsdp": 2}
    assert sizes(MeshConfig(fsdp=2), 8) == {"data": 4, "fsdp": 2}
    assert sizes(MeshConfig(data=2, fsdp=4), 8) == {"data": 2, "fsdp": 4}


@pytest.mark.parametrize(
    ("config", "devices", "slices", "says"),
    [
        (
            MeshConfig(tensor=3),
            8,
            1,
            "mesh.tensor=3 does not divide 8 devices; the nearest that works is mesh.tensor=2",
        ),
        (MeshConfig(data=4, fsdp=4), 8, 1, r"mesh.data=4 x mesh.fsdp=4 do not make 8 devices but 16; .* mesh.data=2"),
        (MeshConfig(data=1, fsdp=4), 8, 1, r"mesh.fsdp=4 does not make 8 devices but 4; .* is mesh.data=2"),
        (MeshConfig(tensor=0), 8, 1, "mesh.tensor=0: expected a positive whole number; .* works is 1"),
        (MeshConfig(fsdp=-2), 8, 1, "mesh.fsdp=-2: expected a positive whole number"),
        (
            MeshConfig(data=3, fsdp=4),
            12,
            2,
            "mesh.data=3: 2 slices need a multiple of 2 .* works is mesh.data=4 mesh.fsdp=3",
        ),
        (MeshConfig(fsdp=8), 8, 2, "mesh.data=1: 2 slices need a multiple of 2 .* works is mesh.fsdp=4"),
        (MeshConfig(), 9, 2, "9 devices on 2 slices: expected as many on each"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_one_line(config, devices, slices, says):
    with pytest.raises(ConfigError, match=says) as error:
        mesh_sizes(config, devices, slices)
    assert "\n" not in str(error.value)


@given(
    st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 4)] * 3),
    st.sampled_from([1, 2, 4, 6, 8, 12, 64]),
    st.sampled_from([1, 2, 3, 4]),
    st.booleans(),
)
def test_a_mesh_uses_every_device_or_is_refused_with_a_choice_that_works(given_sizes, devices, slices, cpu):
    assume(devices % slices == 0)
    asked = dict(zip(AXES, given_sizes))
    try:
        found = mesh_sizes(MeshConfig(**asked), devices, slices, cpu)
    except ConfigError as error:
        nearest = re.search(r"the nearest that works is ((mesh\.\w+=\d+ ?)+)$", str(error))[1]
        asked |= {axis: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", nearest)}
        found = mesh_sizes(MeshConfig(**asked), devices, slices, cpu)
    used = math.prod(found.values())
    assert used == devices or (cpu and used < devices and asked["data"] and asked["fsdp"])
    assert found["data"] % slices == 0
    assert all(found[axis] == size for axis, size in asked.items() if size)


CPUS = [SimpleNamespace(platform="cpu", id=number) for number in range(2)]


@pytest.mark.parametrize(
    ("config", "rows", "options", "says"),
    [
        (MeshConfig(tensor=4), 8, {}, "mesh.tensor=4 does not divide 2 devices; .* works is mesh.tensor=2"),
        (MeshConfig(fsdp=4), 8, {}, "mesh.fsdp=4 does not divide 2 devices; .* works is mesh.fsdp=2"),
        (MeshConfig(context=3), 8, {}, "mesh.context=3 does not divide 2 devices; .* works is mesh.context=2"),
        (MeshConfig(data=1, fsdp=4), 8, {}, "mesh.fsdp=4 does not make 2 devices but 4; .* is mesh.fsdp=2"),
        (
            MeshConfig(fsdp=2),
            9,
            {},
            r"data.rows=9: a step's rows do not divide over 2 devices \(fsdp\); .* data.rows=8",
        ),
        (
            MeshConfig(fsdp=2),
            9,
            {"parts": 3},
            r"data.rows=9: those of each of accumulate=3 parts do not divide .* works is data.rows=12$",
        ),
        (
            MeshConfig(data=1, fsdp=1, context=2),
            8,
            {"length": 33},
            "mesh.context=2: rows of 33 tokens do not divide over it; the nearest that works is mesh.context=1$",
        ),
    ],
)
def test_a_mesh_that_two_cpu_devices_cannot_make_is_refused_in_one_line(config, rows, options, says):
    with pytest.raises(ConfigError, match=says) as error:
        make_mesh(config, rows, CPUS, **options)
    assert "\n" not in str(error.value)
