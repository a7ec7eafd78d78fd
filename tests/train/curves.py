"""Run by test_accumulate.py: the losses of a few steps with a step's rows in 1, 2 and 4 parts, on two meshes.

Prints a JSON object: by what is trained and how, the curves (the loss of each step) that are to be one.
"""

from __future__ import annotations

import json

import jax

jax.config.update("jax_num_cpu_devices", 8)

from tests.train.test_accumulate import curve  # noqa: E402
from toolrm_jax.parallel.mesh import MeshConfig  # noqa: E402
from toolrm_jax.train import factored  # noqa: E402

if __name__ == "__main__":
    meshes = [MeshConfig(data=data, fsdp=fsdp) for data, fsdp in ((8, 1), (2, 4))]
    across = MeshConfig(data=2, fsdp=2, tensor=2)
    told = {"weights": [curve(parts, mesh) for mesh in meshes for parts in (1, 2, 4)]}
    told["adapters"] = [curve(1, mesh, rank=4) for mesh in (*meshes, across)]
    # So that this model's small matrices are factored too.
    factored.SMALLEST = 8
    told["factored"] = [curve(1, mesh, second_moment="factored") for mesh in (*meshes, across)]
    print("TOLD " + json.dumps(told))
