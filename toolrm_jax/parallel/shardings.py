"""Where the weights of a model and the state of its optimiser lie on a mesh, from the declarations of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from toolrm_jax.errors import ModelError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import declarations
from toolrm_jax.parallel.rules import RULES, check_divides, partition_spec

Path = tuple[str | int, ...]


def weight_shardings(config: TrunkConfig, frozen_layers: int, mesh: Mesh) -> dict[Path, NamedSharding]:
    """The sharding of every parameter of a RewardModel by its path.

    Raises ConfigError where a dimension of a weight does not divide over the mesh, naming both and the way out.
    """
    found = {}
    for path, (weight, layers) in declarations(config, frozen_layers).items():
        check_divides(".".join(map(str, path)), weight.shape, weight.axes, mesh.shape)
        axes = ("layers", *weight.axes) if layers else weight.axes
        found[path] = NamedSharding(mesh, partition_spec(axes))
    return found


def state_shardings(state: nnx.State, shardings: Mapping[Path, NamedSharding]) -> nnx.State:
    """A state of parameters with each value replaced by its sharding."""
    flat = state.flat_state()
    lacking = [path for path in flat.paths if path not in shardings]
    assert not lacking, lacking
    return nnx.from_flat_state([(path, var.replace(shardings[path])) for path, var in zip(flat.paths, flat.leaves)])


def like_params(tree: Any, params: nnx.State, shardings: nnx.State, rest: NamedSharding) -> Any:
    """Shardings for an optimiser's state: what has the structure of the parameters lies as they do, the rest as `rest`.

    Zeros made under jit depend on no parameter, and an abstract state carries no sharding (flax issue 5110): without
    this the moments, twice the size of the weights, would lie whole on every device.
    """
    structure = jax.tree.structure(params)
    is_params = lambda node: jax.tree.structure(node) == structure  # noqa: E731
    return jax.tree.map(
        lambda node: shardings if is_params(node) else jax.tree.map(lambda _: rest, node), tree, is_leaf=is_params
    )


def put(value: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """A value of which every process holds the whole, each device taking its part."""
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def smallest_matrix(config: TrunkConfig, sizes: Mapping[str, int]) -> int:
    """Numbers that a device gets when the smallest matrix of a layer is gathered: what `hidden` divides comes whole."""
    found = []
    for weight, layers in declarations(config).values():
        if weight.linear and layers:
            parts = math.prod(sizes[one] for axis in weight.axes if axis != "hidden" for one in RULES[axis])
            found.append(weight.size // parts)
    return min(found)


def bytes_per_device(tree: Any) -> int:
    """Bytes that one device holds of a tree of (abstract) arrays with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        if leaf.sharding is None:
            raise ModelError(f"an array of shape {leaf.shape} has no sharding")
        total += math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return total
