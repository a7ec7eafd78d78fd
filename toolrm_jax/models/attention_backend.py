"""Which attention backend a run takes, chosen once at start-up by name, and its check against the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from toolrm_jax.errors import ModelError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_flash import GRAIN, Flash, Shards
from toolrm_jax.models.attention_xla import attend_xla
from toolrm_jax.models.placement import placement_in_force

# (q, k, v, visible) -> output; hashable, since compiled functions are kept by it.
Backend = Callable[[Array, Array, Array, Visible], Array]
Name = Literal["auto", "xla", "tpu", "gpu", "cpu"]
KERNELS = ("tpu", "gpu", "cpu")

# How much further from the float32 truth than the reference is in the same dtype a backend may be: sums in another
# order, and weights rounded before they are divided by their sum.
FURTHER = 2.0
FLOAT32_FURTHER = 2e-5


def choose_backend(name: Name = "auto", platform: str | None = None) -> Backend:
    """The backend of that name; `auto` is the kernel for the platform (default: JAX's own).

    Raises ModelError for an unknown name and for a kernel of another platform.
    """
    platform = platform or jax.default_backend()
    platform = "gpu" if platform in ("cuda", "rocm") else platform
    if name == "auto":
        name = platform if platform in KERNELS else "xla"
    if name == "xla":
        return attend_xla
    if name not in KERNELS:
        raise ModelError(f"attention backend {name!r} is unknown; known: auto, xla, {', '.join(KERNELS)}")
    if name != platform:
        raise ModelError(f"attention backend {name!r} does not run on {platform} devices; use auto or xla")
    return Flash(name)


def backend_name(backend: Backend) -> str:
    """What logs and reports call a backend."""
    return f"{backend.kernel} kernel" if isinstance(backend, Flash) else "XLA reference"


def small_rows(rows: int, length: int) -> Visible:
    """Rows of two groups of three answers each, of uneven lengths, with padding at the end."""
    edges = np.array([0.3, 0.36, 0.36, 0.42, 0.7, 0.75, 0.82, 0.9, 1.0])
    at = np.searchsorted(edges, np.arange(length) / length, side="right")
    group, response = np.array([1, 1, 1, 1, 2, 2, 2, 2, 0])[at], np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])[at]
    return Visible.of(*(jnp.asarray(np.tile(ids, (rows, 1)), jnp.int32) for ids in (group, response)))


def self_check(backend: Backend, heads: int, kv_heads: int, head_dim: int, dtype: jnp.dtype) -> str:
    """Compare values and gradients with the reference on small rows, over the placement in force; says so in one line.

    Both are held against the reference in float32 at the highest precision. Raises ModelError where the backend is
    further from it than FURTHER times the reference in `dtype`.
    """
    if not isinstance(backend, Flash):
        return "attention: XLA reference"
    shards = Shards(placement_in_force())
    rows = shards.size("rows")
    visible = small_rows(rows, 2 * GRAIN * shards.size("tokens"))
    length = visible.last.shape[1]

    def results(attend: Backend, dtype: jnp.dtype) -> list[Array]:
        keys = jax.random.split(jax.random.key(0), 4)
        shapes = [(rows, length, count, head_dim) for count in (heads, kv_heads, kv_heads, heads)]
        # Rounded to the dtype first, so that every side starts from the same numbers.
        q, k, v, d_out = (
            jax.random.normal(key, shape).astype(jnp.bfloat16).astype(dtype) for key, shape in zip(keys, shapes)
        )
        out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, visible), q, k, v)
        return [x.astype(jnp.float32) for x in (out, *pull(d_out))]

    @jax.jit
    def distances() -> Array:
        with jax.default_matmul_precision("highest"):
            truth = results(attend_xla, jnp.float32)
        sides = [results(attend_xla, dtype), results(backend, dtype)]
        return jnp.stack([jnp.stack([jnp.max(jnp.abs(a - b)) for a, b in zip(side, truth)]) for side in sides])

    reference, ours = np.asarray(distances())
    told = ", ".join(f"{name} {far:.1e}" for name, far in zip(("values", "dq", "dk", "dv"), ours))
    name = backend_name(backend)
    # Not a number is further than anything.
    if not (ours <= FURTHER * reference + FLOAT32_FURTHER).all():
        allowed = ", ".join(f"{far:.1e}" for far in FURTHER * reference + FLOAT32_FURTHER)
        raise ModelError(
            f"attention: the {name} differs from the reference ({told}; allowed {allowed}); use the xla backend"
        )
    return f"attention: {name} equals the reference on small rows in {jnp.dtype(dtype).name} ({told})"
