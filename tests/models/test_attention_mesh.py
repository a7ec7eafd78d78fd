"""The kernels over a mesh give what one device gives, and refuse what it does not divide. Run apart: 8 devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from toolrm_jax.models.attention_backend import KERNELS

PROGRAM = """
import json, sys, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import AxisType
from toolrm_jax.errors import ModelError
from toolrm_jax.models.attention import Visible, attend
from toolrm_jax.models.attention_backend import self_check
from toolrm_jax.models.attention_flash import Flash
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel.rules import AXES, Placed

random = np.random.default_rng(0)
ids = np.zeros((2, 2, 500), np.int32)
for row in range(2):
    for number, start in enumerate((0, 210), start=1):
        edges = start + np.array([0, 100 + row, 140, 170, 171, 205])
        for response, (a, b) in enumerate(zip(edges, edges[1:])):
            ids[:, row, a:b] = [[number], [response]]
visible = Visible.of(*ids)
q, k, v, d_out = (random.normal(size=(2, 500, n, 8)).astype(np.float32) for n in (4, 2, 2, 4))

def placement(**sizes):
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    return Placed(jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES)))

kernel = sys.argv[1]
# What is no TPU or GPU kernel runs on a CPU as it stands.
ours = Flash(kernel, block=128, interpret=kernel != "cpu")

def run(placement, backend=ours, q=q, k=k, v=v, d_out=d_out):
    @jax.jit
    def results(q, k, v, d_out):
        with placed(placement):
            out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, visible, backend), q, k, v)
            return (out, *pull(d_out))
    return [np.asarray(x) for x in results(q, k, v, d_out)]

reference, far = run(None, None), {}
for sizes in (dict(data=2, context=4), dict(fsdp=2, tensor=4), dict(expert=2, tensor=2, context=2), dict(context=8)):
    found = run(placement(**sizes))
    far[str(sizes)] = [float(abs(a - b).max() / abs(b).max()) for a, b in zip(found, reference)]

def refused(**sizes):
    try:
        run(placement(**sizes), q=q[:, :, :3], k=k[:, :, :1], v=v[:, :, :1], d_out=d_out[:, :, :3])
    except ModelError as error:
        return str(error)

with placed(placement(fsdp=2, context=2)):
    line = self_check(ours, 2, 1, 8, jnp.bfloat16)
print(json.dumps({"far": far, "rows": refused(data=4), "heads": refused(tensor=2), "line": line}))
"""


@pytest.mark.parametrize("kernel", KERNELS)
def test_values_and_gradients_do_not_depend_on_the_mesh_and_what_does_not_divide_is_refused(kernel):
    """Held against the XLA reference on one device, also where a device's queries begin within the row."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, kernel]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert len(told["far"]) == 4
    for mesh, far in told["far"].items():
        assert max(far) < 1e-5, mesh
    assert told["rows"] == "2 rows do not divide over 4 devices (data x expert x fsdp); use 4 rows"
    assert told["heads"] == "3 attention heads over 1 key-value heads do not divide over tensor=2; use 1"
    assert told["line"].startswith(f"attention: {kernel} kernel equals the reference on small rows in bfloat16")
