"""Which mesh axes divide which logical axis of a weight or an activation: one table, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolrm_jax.errors import ConfigError

AXES = ("data", "fsdp", "tensor", "expert", "context")
"""The axes of every mesh, any of size 1; the first varies slowest over the devices, so it crosses slices and hosts."""

RULES: Mapping[str, tuple[str, ...]] = {
    # Activations: rows of a step are divided over every axis that does not divide them otherwise.
    "rows": ("data", "expert", "fsdp"),
    "tokens": ("context",),
    # On the way from a look-up in the embedding, whose columns `hidden` divides, to rows and tokens: one mesh axis
    # moves at a time, and it is the last (fastest) of its dimension, or the compiler gathers everything instead.
    "lookup_rows": ("data", "expert"),
    "lookup_hidden": ("fsdp",),
    # Weights: `hidden` is where each is cut for storage, and gathered again, layer by layer, to be used.
    "hidden": ("fsdp", "context"),
    "vocab": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "experts": ("expert",),
    # Whole on every device.
    "layers": (),
    "head_dim": (),
    "router": (),
    "score": (),
    "rank": (),
}


def partition_spec(axes: tuple[str | None, ...], rules: Mapping[str, tuple[str, ...]] = RULES) -> PartitionSpec:
    """The PartitionSpec of an array with these logical axes; None and unnamed trailing dimensions stay whole.

    Raises ConfigError for an axis without a rule, and where two axes of one array would share a mesh axis.
    """
    taken: dict[str, str] = {}
    parts: list[tuple[str, ...] | str | None] = []
    for axis in axes:
        if axis is not None and axis not in rules:
            raise ConfigError(f"logical axis {axis!r} has no sharding rule; known: {', '.join(rules)}")
        mesh_axes = () if axis is None else rules[axis]
        for one in mesh_axes:
            if one in taken:
                raise ConfigError(
                    f"axes {axes}: {taken[one]!r} and {axis!r} would both be divided over mesh axis {one!r}; "
                    f"give one of them another rule"
                )
            taken[one] = str(axis)
        parts.append(mesh_axes if len(mesh_axes) > 1 else mesh_axes[0] if mesh_axes else None)
    return PartitionSpec(*parts)


@dataclass(frozen=True, slots=True)
class Placed:
    """A mesh under the rules: what a model needs to lay out its activations (`toolrm_jax.models.placement`)."""

    mesh: Mesh

    def spec(self, *axes: str | None) -> PartitionSpec:
        """The PartitionSpec of an array with these logical axes."""
        return partition_spec(axes)

    def sharding(self, *axes: str | None) -> NamedSharding:
        """The same as a sharding on the mesh; without axes: whole on every device."""
        return NamedSharding(self.mesh, partition_spec(axes))


def row_parts(sizes: Mapping[str, int]) -> int:
    """Into how many parts the rows of a step are divided."""
    return math.prod(sizes[axis] for axis in RULES["rows"])


def check_divides(
    name: str,
    shape: tuple[int, ...],
    axes: tuple[str, ...],
    sizes: Mapping[str, int],
    works: Callable[[Mapping[str, int]], bool] = lambda sizes: True,
) -> None:
    """Raises ConfigError where a dimension does not divide over its mesh axes, with the nearest size that does.

    works: whether a mesh of other sizes would do for all else, so that the choice named is one that can be taken.
    """
    for length, axis in zip(shape, axes):
        over = [one for one in RULES[axis] if sizes[one] > 1]
        parts = math.prod(sizes[one] for one in over)
        if length % parts:
            product = " x ".join(f"mesh.{one}={sizes[one]}" for one in over)
            choices = [
                (abs(n - sizes[one]), -n, one)
                for one in over
                for n in range(1, length + 1)
                if length % (parts // sizes[one] * n) == 0 and works({**sizes, one: n})
            ]
            _, nearest, change = min(choices, default=(0, -1, over[0]))
            raise ConfigError(
                f"{product}: {axis!r} of {name} is {length}, which does not divide into {parts} parts; "
                f"the nearest that works is mesh.{change}={-nearest}"
            )


def divides(shape: tuple[int, ...], axes: tuple[str, ...], sizes: Mapping[str, int]) -> bool:
    """Whether every dimension divides over its mesh axes."""
    return all(length % math.prod(sizes[one] for one in RULES[axis]) == 0 for length, axis in zip(shape, axes))
