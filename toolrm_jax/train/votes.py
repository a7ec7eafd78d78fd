"""What any process says, known to all at the same step, without one of them waiting for the others.

Asking all processes takes a computation over all devices; to wait for its answer at once would let the devices run
empty at every step. A vote is so dispatched before a step and read after the step's dispatch, by when all before it is
done anyway.
"""

from __future__ import annotations

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Vote(IntEnum):
    """What a process asks for; of several the highest counts."""

    GO_ON = 0
    STOP = 1  # a signal: save and leave
    NO_DATA = 2  # this process cannot read its rows: leave without saving


class Votes:
    """Takes this process's vote and gives what all agree on."""

    def __init__(self, mesh: Mesh) -> None:
        self.alone = jax.process_count() == 1
        axes = mesh.axis_names
        self.sharding = NamedSharding(mesh, PartitionSpec(axes))
        self.highest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self.count = mesh.size

    def cast(self, vote: Vote) -> Vote | jax.Array:
        """Send this process's vote; the value is read by `agreed`."""
        if self.alone:
            return vote
        one = lambda _: np.full(1, vote, np.int32)  # noqa: E731
        return self.highest(jax.make_array_from_callback((self.count,), self.sharding, one))

    def agreed(self, cast: Vote | jax.Array) -> Vote:
        """The highest vote of all processes, the same in each."""
        return cast if isinstance(cast, Vote) else Vote(int(jax.device_get(cast)))
