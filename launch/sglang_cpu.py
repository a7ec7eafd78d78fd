"""Starts the server of sglang-jax 0.0.2 on a CPU, with five faults of that release mended.

Its processes are spawned, so each runs this file again (as `__mp_main__`) before anything else: what is mended here
is mended in all of them. Run by sglang_cpu.sh, whose environment is the only one that has the package.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util

_register = tree_util.register_pytree_node_class


def _register_once(kind: type) -> type:
    """JAX's registration, but not of a class that flax's own base class has registered already."""
    try:
        return _register(kind)
    except ValueError:
        if kind.__name__ != "NativeAttention":
            raise
        return kind


# The attention that CPUs use is a flax module, registered by being one, and marked for registration besides.
tree_util.register_pytree_node_class = _register_once

from sgl_jax.srt.layers import logits_processor, sampler  # noqa: E402
from sgl_jax.srt.utils import weight_utils  # noqa: E402

_min_p = sampler._apply_min_p_filter


def _apply_min_p_filter(operands: tuple[Any, ...]) -> jax.Array:
    """The release's filter takes two operands, and is given three where there is no TPU."""
    return _min_p(operands[:2])


class _SortedOnDevice:
    """The `jax` that the sampler sees, whose only call back to the host, a sort, stays on the device.

    On a CPU the callback waits for the thread that waits for it.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(jax, name)

    @staticmethod
    def pure_callback(_: Any, out: jax.Array, probabilities: jax.Array, **__: Any) -> jax.Array:
        """Indices in falling order of probability, those that are no numbers last."""
        order = jnp.argsort(jnp.nan_to_num(probabilities, nan=-jnp.inf), axis=-1, descending=True)
        return order.astype(out.dtype)


def _get_logits(self: Any, hidden_states: jax.Array, lm_head: Any) -> jax.Array:
    """The release rounds both factors to bfloat16 where the head is not the embedding, whatever `--dtype` says."""
    return jnp.dot(hidden_states, lm_head.embedding.value.astype(hidden_states.dtype).T)[..., : self.vocab_size]


class _Unpadded(weight_utils.WeightLoader):
    """The release pads heads to a TPU's 128 lanes, in the weights alone: attention on a CPU wants them as they are."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.head_dim, self.head_dim_pad = self.head_dim_original, 0


sampler._apply_min_p_filter = _apply_min_p_filter
sampler.jax = _SortedOnDevice()
logits_processor.LogitsProcessor._get_logits = _get_logits
weight_utils.WeightLoader = _Unpadded  # before a model's module takes it by name

if __name__ == "__main__":
    import os

    from sgl_jax.srt.entrypoints.http_server import launch_server
    from sgl_jax.srt.server_args import prepare_server_args
    from sgl_jax.srt.utils import kill_process_tree

    try:
        launch_server(prepare_server_args(sys.argv[1:]))
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
