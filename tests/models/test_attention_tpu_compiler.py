"""The TPU's own compiler takes the kernels, at the sizes of real models, and gives the memory that the docs state."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, the TPU's compiler, is not installed (extra `tpu`)"
)

# Heads, key-value heads, head_dim: Qwen3-4B, Qwen2.5-1.5B, SmolLM2-135M.
SIZES = {"qwen3-4b": (32, 8, 128), "qwen2.5-1.5b": (12, 2, 128), "smollm2": (9, 3, 64)}

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from toolrm_jax.models.attention import Visible, attend
from toolrm_jax.models.attention_flash import Flash
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel.rules import AXES, Placed

topology, cases = json.loads(sys.argv[1])
devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
for sizes, (B, T, N, K, H) in cases:
    shape = [sizes.get(axis, 1) for axis in AXES]
    count = int(np.prod(shape))
    mesh = Mesh(np.array(devices[:count]).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    def results(q, k, v, group, response, d_out):
        with placed(Placed(mesh)):
            out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, Visible.of(group, response), Flash("tpu")), q, k, v)
            return (out, *pull(d_out))
    rows = ("data", "fsdp", "expert")
    ids = jax.ShapeDtypeStruct((B, T), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec(rows, "context")))
    heads = NamedSharding(mesh, PartitionSpec(rows, "context", "tensor"))
    x = lambda n: jax.ShapeDtypeStruct((B, T, n, H), jnp.bfloat16, sharding=heads)
    lowered = jax.jit(results, out_shardings=heads).lower(x(N), x(K), x(K), ids, ids, x(N))
    # Of some chips the compiled program holds collectives that jaxlib cannot print, so the lowered one is read.
    text = lowered.as_text()
    found = {name: text.count(f'kernel_name = "{name}"') for name in ("forward_kernel", "dq_kernel", "dkv_kernel")}
    found["all_gather"] = text.count('"stablehlo.all_gather"')
    found["reduce_scatter"] = text.count('"stablehlo.reduce_scatter"')
    found["temporary"] = lowered.compile().memory_analysis().temp_size_in_bytes
    print(json.dumps(found))
"""


def compile_for(topology: str, *cases) -> list[dict]:
    """Compile forward and backward passes for a topology, in a process of its own: libtpu stays out of this one."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    program = [sys.executable, "-c", PROGRAM, json.dumps([topology, cases])]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def stated(B: int, T: int, N: int, K: int, H: int, block: int = 512) -> int:
    """The formula of `Flash`, in bytes, for bfloat16."""
    per_head = 2 * B * T * H
    copies = 2 * (N + K) * 2 * per_head
    return copies + 2 * 4 * B * N * T + 12 * B * T + 8 * B * (-(-T // block)) ** 2


def test_memory_is_as_stated_and_grows_with_the_row_not_with_its_square():
    heads = SIZES["qwen3-4b"]
    found = compile_for("v5e:2x2", *[({}, (1, T, *heads)) for T in (4096, 16384)])
    for one, T in zip(found, (4096, 16384), strict=True):
        # Copies that the compiler avoids, or keeps in VMEM, are not made.
        assert one["temporary"] <= stated(1, T, *heads)
        assert {name: one[name] for name in ("forward_kernel", "dq_kernel", "dkv_kernel")} == {
            "forward_kernel": 1,
            "dq_kernel": 1,
            "dkv_kernel": 1,
        }
    mask = 16384 * 16384
    assert stated(1, 16384, *heads) < 4.1 * stated(1, 4096, *heads)
    assert found[1]["temporary"] < heads[0] * mask / 4, "no T x T array per head"


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v6e:2x2", "v5p:2x2x1"])
def test_every_model_compiles_for_every_tpu_on_one_device_and_over_a_mesh(topology):
    cases = [({}, (2, length, *heads)) for heads in SIZES.values() for length in (1280, 4096)]
    cases += [({"fsdp": 2, "tensor": 2}, (2, 4096, *SIZES["qwen3-4b"]))]
    cases += [({"tensor": 2, "context": 2}, (1, 16384, *SIZES["qwen3-4b"]))]
    found = compile_for(topology, *cases)
    assert len(found) == len(cases)
    for one in found:
        assert one["forward_kernel"] == one["dq_kernel"] == one["dkv_kernel"] == 1
    # Keys, values and who sees them, in both passes; gradients of keys and values.
    assert (found[-1]["all_gather"], found[-1]["reduce_scatter"]) == (6, 2)
    assert all((one["all_gather"], one["reduce_scatter"]) == (0, 0) for one in found[:-1])
