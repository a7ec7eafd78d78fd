"""Folders are read straight to their place, in old and new names of experts, and damaged ones are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) writes the folders here")

from safetensors.numpy import load_file, save_file  # noqa: E402

from tests.models.tiny import make  # noqa: E402
from toolrm_jax.errors import ModelError  # noqa: E402
from toolrm_jax.models.folder import huggingface_tensors, load_model  # noqa: E402


def written(model) -> dict[str, np.ndarray]:
    return dict(huggingface_tensors(model))


def test_fused_experts_are_read_as_the_published_ones(tmp_path):
    reference = make("Qwen3Moe", tmp_path / "published")
    reference.save_pretrained(tmp_path / "fused", save_original_format=False)
    names = load_file(tmp_path / "fused" / "model.safetensors")
    assert "model.layers.0.mlp.experts.gate_up_proj" in names, "transformers fuses them in memory"
    assert "model.layers.0.mlp.experts.0.up_proj.weight" in load_file(tmp_path / "published" / "model.safetensors")
    published, fused = (written(load_model(tmp_path / kind)[0]) for kind in ("published", "fused"))
    assert published.keys() == fused.keys()
    for name in published:
        np.testing.assert_array_equal(published[name], fused[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bfloat16_files_keep_every_bit(dtype, tmp_path):
    reference = make("Qwen2", tmp_path).bfloat16()
    reference.save_pretrained(tmp_path)
    model = written(load_model(tmp_path, dtype=np.dtype(dtype))[0])
    for name, weight in reference.state_dict().items():
        assert model[name].dtype == dtype
        np.testing.assert_array_equal(model[name].astype(np.float32), weight.float().numpy(), err_msg=name)


def test_several_files_with_an_index_are_one_model(tmp_path):
    reference = make("Qwen3", tmp_path / "one")
    reference.save_pretrained(tmp_path / "many", max_shard_size="40KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    one, many = (written(load_model(tmp_path / kind)[0]) for kind in ("one", "many"))
    for name in one:
        np.testing.assert_array_equal(one[name], many[name], err_msg=name)


def test_the_host_holds_one_tensor_at_a_time(tmp_path):
    """The peak of numpy's memory, of which JAX's arrays on devices are no part."""
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 10}
    make("Qwen3", tmp_path, **shape)
    largest = 4 * 256 * 1024
    total = (tmp_path / "model.safetensors").stat().st_size
    load_model(tmp_path, layers=1)
    tracemalloc.start()
    model, _ = load_model(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    list(huggingface_tensors(model))
    tracemalloc.stop()
    assert total > 30 * largest
    assert largest < peak < 3 * largest, "one as it is in the file, one as it is in the model"


def test_nothing_that_is_deprecated_is_called(tmp_path):
    make("Qwen3Moe", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        written(load_model(tmp_path)[0])


PROGRAM = """
import json, sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from flax import nnx
from toolrm_jax.models.folder import huggingface_tensors, load_model
from toolrm_jax.parallel.mesh import MeshConfig, make_mesh
from toolrm_jax.parallel.shardings import weight_shardings

mesh = make_mesh(MeshConfig(data=1, fsdp=2, expert=2), 4)
whole, _ = load_model(sys.argv[1], frozen_layers=1)
model, _ = load_model(sys.argv[1], frozen_layers=1, shardings=lambda config: weight_shardings(config, 1, mesh))
there = dict(huggingface_tensors(whole))
same = [np.array_equal(there.pop(name), value) for name, value in huggingface_tensors(model)]
asked = weight_shardings(model.config, 1, mesh)
state = dict(nnx.to_flat_state(nnx.split(model)[1]))
lie = [state[path].get_value().sharding.is_equivalent_to(sharding, state[path].get_value().ndim)
       for path, sharding in asked.items()]
gate = state["trunk", "stacks", 1, "gate"].get_value()
print(json.dumps({"same": same, "left": list(there), "lie": lie, "shape": gate.shape,
                  "parts": [shard.data.shape for shard in gate.addressable_shards]}))
"""


def test_each_part_goes_straight_to_its_device(tmp_path):
    make("Qwen3Moe", tmp_path)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert all(found["same"])
    assert found["left"] == []
    assert all(found["lie"])
    assert found["shape"] == [2, 6, 48, 28]
    assert found["parts"] == [[2, 3, 24, 28]] * 4


def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path):
    def refused(says: str) -> None:
        with pytest.raises(ModelError, match=says) as problem:
            load_model(tmp_path)
        assert "\n" not in str(problem.value)

    make("Qwen3Moe", tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    up = "model.layers.1.mlp.experts.3.up_proj.weight"
    save_file({name: value for name, value in whole.items() if name != up}, file)
    refused(f"tensor {up} is missing")
    save_file(whole | {up: whole[up][:5]}, file)
    refused(rf"tensor {up} has shape \(5, 48\), config.json asks for \(28, 48\)")
    save_file(whole, file)
    file.write_bytes(file.read_bytes()[:-100])
    refused("damaged or cut short")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(whole, "model-1.safetensors")}))
    refused("the index names model-1.safetensors, which is missing")
    save_file({"other": whole[up]}, tmp_path / "model-1.safetensors")
    refused("the index says that .* is in model-1.safetensors, which lacks it")
    index.write_text("[]")
    refused("no index of tensors")
    index.unlink()
    file.unlink()
    refused("no model.safetensors here")
