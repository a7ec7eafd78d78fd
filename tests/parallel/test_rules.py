"""The rule table: every weight of every model has a place, no mesh axis is used twice, misfits are told."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from toolrm_jax.errors import ConfigError
from toolrm_jax.models.declarations import declarations
from toolrm_jax.models.presets import PRESETS
from toolrm_jax.parallel.rules import AXES, RULES, check_divides, partition_spec, row_parts

ONE = dict.fromkeys(AXES, 1)


def mesh_axes(spec: PartitionSpec) -> list[str]:
    return [axis for part in spec if part for axis in ((part,) if isinstance(part, str) else part)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_weight_of_every_model_divides_and_uses_no_mesh_axis_twice(name):
    shape = PRESETS[name]
    sizes = ONE | {"fsdp": 2, "tensor": math.gcd(shape.num_key_value_heads, 2), "context": 4}
    sizes["expert"] = 8 if shape.num_experts else 1
    for path, (weight, _) in declarations(shape, frozen_layers=1).items():
        check_divides(str(path), weight.shape, weight.axes, sizes)
        used = mesh_axes(partition_spec(("layers", *weight.axes)))
        assert len(used) == len(set(used)), path
        matrix = weight.linear and weight.size > 10**6
        assert not matrix or {"fsdp", "context"} <= set(used), f"{path}: a matrix is cut for storage"


def test_specs_of_a_projection_and_of_hidden_states():
    assert partition_spec(("layers", "hidden", "heads", "head_dim")) == PartitionSpec(
        None, ("fsdp", "context"), "tensor", None
    )
    assert partition_spec(("rows", "tokens", None)) == PartitionSpec(("data", "expert", "fsdp"), "context", None)


@given(st.lists(st.sampled_from([*RULES, None]), max_size=5))
def test_two_axes_of_one_array_never_share_a_mesh_axis(axes):
    wanted = [one for axis in axes if axis is not None for one in RULES[axis]]
    if len(wanted) == len(set(wanted)):
        assert mesh_axes(partition_spec(tuple(axes))) == wanted
    else:
        with pytest.raises(ConfigError, match="would both be divided over mesh axis"):
            partition_spec(tuple(axes))


def test_an_axis_without_a_rule_is_refused():
    with pytest.raises(ConfigError, match=r"logical axis 'heights' has no sharding rule; known: rows, "):
        partition_spec(("heights",))


@pytest.mark.parametrize(
    ("sizes", "length", "axis", "says"),
    [
        ({"tensor": 4}, 2, "kv_heads", "mesh.tensor=4: 'kv_heads' of k is 2, which does not divide into 4 parts; "
         "the nearest that works is mesh.tensor=2"),
        ({"tensor": 3}, 8, "heads", "mesh.tensor=3: 'heads' of k is 8, .* works is mesh.tensor=4"),
        ({"fsdp": 4, "context": 3}, 64, "hidden", "mesh.fsdp=4 x mesh.context=3: .* 12 parts; .* mesh.context=4"),
        ({"fsdp": 5, "context": 2}, 64, "hidden", "mesh.fsdp=5 x mesh.context=2: .* 10 parts; .* mesh.fsdp=4"),
    ],
)  # fmt: skip
def test_a_size_that_does_not_divide_names_the_dimension_and_the_nearest_choice(sizes, length, axis, says):
    with pytest.raises(ConfigError, match=says) as error:
        check_divides("k", (length,), (axis,), ONE | sizes)
    nearest = re.search(r"mesh\.(\w+)=(\d+)$", str(error.value))
    mended = ONE | sizes | {nearest[1]: int(nearest[2])}
    check_divides("k", (length,), (axis,), mended)


def test_rows_are_divided_over_every_axis_that_divides_no_activation_otherwise():
    assert row_parts({"data": 2, "fsdp": 3, "tensor": 5, "expert": 7, "context": 11}) == 42
