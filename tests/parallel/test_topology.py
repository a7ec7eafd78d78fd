"""Names of TPU slices: what is known, what is refused, and what the TPU's own compiler says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.topology import CHIPS, has_libtpu, parse, slices_of, without_a_tpu


def test_a_name_gives_chips_and_devices():
    assert (parse("v6e:8x8").chips, parse("v6e:8x8", 2).devices) == (64, 128)
    assert (parse("v5p:2x2x4").chips, parse("tpu7x:2x2x2").devices) == (16, 16)
    for kind in CHIPS:
        sizes = [one.chips for one in slices_of(kind)]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v5e:2x3", "topology=v5e:2x3: .* multiples of 2x2, .* the nearest that works is v5e:2x"),
        ("v6e:32x32", "up to 256 chips; the nearest that works is v6e:16x16"),
        ("v5p:4x4", "slice of v5p has 3 dimensions .* the nearest that works is v5p:2x2x4"),
        ("v6e:", "the nearest that works is v6e:1x1"),
        ("v6:2x2", "no TPU 'v6'; known: v5e, v6e, v5p, tpu7x; the nearest that works is v6e:2x2"),
        ("v4:2x2x2", "no TPU 'v4'; .* the nearest that works is v6e:2x4"),
        ("h100", "no TPU 'h100'; .* the nearest that works is v6e:1x1"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused_with_the_nearest(name, says):
    with pytest.raises(ConfigError, match=says) as error:
        parse(name)
    assert "\n" not in str(error.value)


PROGRAM = """
import json, jax, jax.numpy as jnp, re
from jax.sharding import SingleDeviceSharding
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh
from toolrm_jax.parallel.topology import CHIPS, FLAT, DEEP, devices, parse
limits = {}
for kind, chip in CHIPS.items():
    one = devices(parse(kind + (":2x2" if chip.dimensions == 2 else ":2x2x1")))[0]
    huge = jax.ShapeDtypeStruct((2**15, 2**20), jnp.float32, sharding=SingleDeviceSharding(one))
    try:
        jax.jit(lambda a: a + 1).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        limits[kind] = str(error)
counts = {name: len(devices(parse(name))) for name in ("v5e:1x1", "v5e:2x4", "v6e:8x8", "v5p:2x2x4", "tpu7x:2x2x1")}
mesh = make_mesh(MeshConfig(data=4, fsdp=2), 8, devices(parse("v6e:2x2", 2)))
slices = [[device.slice_index for device in row.flat] for row in mesh.devices]
print(json.dumps([limits, counts, slices]))
"""


@pytest.mark.skipif(not has_libtpu(), reason="libtpu, the TPU's compiler, is not installed (extra `plan`)")
def test_the_compiler_agrees_on_memory_and_devices_and_only_data_crosses_slices():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ | without_a_tpu(), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    limits, counts, slices = json.loads(done.stdout.splitlines()[-1])
    for kind, chip in CHIPS.items():
        assert f"{chip.hbm / 2**30:.2f}G" in limits[kind], (kind, limits[kind][:300])
    assert counts == {"v5e:1x1": 1, "v5e:2x4": 8, "v6e:8x8": 64, "v5p:2x2x4": 16, "tpu7x:2x2x1": 8}
    assert slices == [[0, 0], [0, 0], [1, 1], [1, 1]]
