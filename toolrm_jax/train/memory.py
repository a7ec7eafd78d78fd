"""What is said where the devices' memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from toolrm_jax.errors import ModelError

SMALLER_STEP = (
    "raise accumulate, set model.remat=full, or divide the model over more devices (mesh.fsdp); before the first "
    "checkpoint data.rows and data.row_length may be lowered too"
)
"""What of a run may be made smaller, once begun or before."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no room."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


@contextmanager
def must_fit(what: str, way_out: str) -> Iterator[None]:
    """Inside, a device that runs out of memory is a ModelError of one line."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(f"{what} does not fit the devices' memory; {way_out}") from None
