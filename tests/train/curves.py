"""Run by test_accumulate.py: the losses of a few steps with a step's rows in 1, 2 and 4 parts, on two meshes.

Prints a JSON object: by mesh and parts, the loss of each step.
"""

from __future__ import annotations

import json

import jax

jax.config.update("jax_num_cpu_devices", 8)

from tests.train.test_accumulate import curve  # noqa: E402
from toolrm_jax.parallel.mesh import MeshConfig  # noqa: E402

if __name__ == "__main__":
    told = {
        f"data {data}, fsdp {fsdp}, {parts} parts": curve(parts, MeshConfig(data=data, fsdp=fsdp))
        for data, fsdp in ((8, 1), (2, 4))
        for parts in (1, 2, 4)
    }
    print("TOLD " + json.dumps(told))
