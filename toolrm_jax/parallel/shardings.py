"""Where the weights of a model and the state of its optimiser lie on a mesh, from the declarations of the weights."""

from __future__ import annotations

import itertools
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
from toolrm_jax.parallel.rules import RULES, check_divides, divides, partition_spec

Path = tuple[str | int, ...]


def weight_shardings(config: TrunkConfig, frozen_layers: int, mesh: Mesh) -> dict[Path, NamedSharding]:
    """The sharding of every parameter of a RewardModel by its path.

    Raises ConfigError where a dimension of a weight does not divide over the mesh, naming both and the way out.
    """
    declared = declarations(config, frozen_layers)

    def works(sizes: Mapping[str, int]) -> bool:
        fits = all(divides(weight.shape, weight.axes, sizes) for weight, _ in declared.values())
        return fits and mesh.size % math.prod(sizes.values()) == 0

    found = {}
    for path, (weight, layers) in declared.items():
        check_divides(".".join(map(str, path)), weight.shape, weight.axes, mesh.shape, works)
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


def gathered_sizes(config: TrunkConfig, frozen_layers: int, sizes: Mapping[str, int]) -> dict[int, str]:
    """How many numbers a device holds of each matrix once it was gathered, with the name of the weight.

    Gathered over any of the mesh axes that divide it, of one layer or of all layers of a stack. What `sizes` do not
    divide is never gathered and not listed, nor are vectors (norms, biases, the scalar head), which weigh nothing.
    """
    found: dict[int, str] = {}
    for path, (weight, layers) in declarations(config, frozen_layers).items():
        over = [axis for name in weight.axes for axis in RULES[name] if sizes[axis] > 1]
        if len(weight.shape) == 1 or weight.flat or "score" in weight.axes:
            continue
        for count in range(len(over)):
            for still in itertools.combinations(over, count):
                held = weight.size // math.prod(sizes[axis] for axis in still)
                found.setdefault(held, path[-1])
                if layers:
                    found.setdefault(held * len(layers), f"{path[-1]} of {len(layers)} layers")
    return found


def bytes_per_device(tree: Any) -> int:
    """Bytes that one device holds of a tree of (abstract) arrays with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        if leaf.sharding is None:
            raise ModelError(f"an array of shape {leaf.shape} has no sharding")
        total += math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return total
