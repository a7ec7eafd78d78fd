"""Where arrays lie on a mesh while a model runs: the model names its axes, whoever runs it says what they mean.

The rules stand in `toolrm_jax.parallel.rules`. Without a placement in force every function here does nothing, so a
model on one device needs to know of none.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Protocol

import jax
from jax.sharding import Mesh, PartitionSpec


class Placement(Protocol):
    """A mesh, and the part of it that each logical axis of an array is divided over."""

    mesh: Mesh

    def spec(self, *axes: str | None) -> PartitionSpec:
        """The PartitionSpec of an array with these logical axes (None: whole on every device)."""
        ...


_IN_FORCE: contextvars.ContextVar[Placement | None] = contextvars.ContextVar("placement", default=None)


@contextlib.contextmanager
def placed(placement: Placement | None) -> Iterator[None]:
    """Put a placement in force. Enter it inside the function that is jitted: a trace does not see it change later."""
    token = _IN_FORCE.set(placement)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def placement_in_force() -> Placement | None:
    """The placement of the trace under way; for code that divides its own work, as kernels under shard_map do."""
    return _IN_FORCE.get()


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """The same values, laid out by logical axes, one for each dimension of `x`; so are its gradients."""
    placement = _IN_FORCE.get()
    if placement is None:
        return x
    assert len(axes) == x.ndim, (axes, x.shape)
    spec = placement.spec(*axes)
    return jax.lax.with_sharding_constraint(x, jax.sharding.NamedSharding(placement.mesh, spec))
