"""The decoder without a head: embedding, layers in one or more scanned stacks, final norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.layers import Layer, rms_norm, rotary
from toolrm_jax.models.weights import Declared, Weight


def trunk_weights(config: TrunkConfig) -> dict[str, Weight]:
    """The weights outside the layers."""
    return {
        "embedding": Weight(
            (config.vocab_size, config.hidden_size), ("vocab", "hidden"), "model.embed_tokens.weight", "embedding"
        ),
        "norm": Weight((config.hidden_size,), ("hidden",), "model.norm.weight", "ones"),
    }


class Trunk(Declared):
    """Tokens to normalised hidden states.

    The layers lie in one stack, or in two where the lower `frozen_layers` (and the embedding) are not trained:
    then no gradient flows below the boundary, and nothing is kept for one.
    """

    def __init__(self, config: TrunkConfig, *, frozen_layers: int = 0, rngs: nnx.Rngs) -> None:
        assert 0 <= frozen_layers <= config.num_hidden_layers
        super().__init__(trunk_weights(config), rngs=rngs)
        sizes = [n for n in (frozen_layers, config.num_hidden_layers - frozen_layers) if n]
        self.stacks = nnx.List([Layer(config, layers=n, rngs=rngs) for n in sizes])
        self.config = config
        self.frozen_layers = frozen_layers

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        visible: Visible,
        dtype: jnp.dtype = jnp.float32,
        remat: bool = False,
    ) -> Float[Array, "B T D"]:
        """Hidden states after the final norm. `dtype` is that of the computation, whatever the parameters' own."""
        x = jnp.take(self.embedding[...], tokens, axis=0).astype(dtype)
        cos, sin = rotary(positions, self.config.head_dim, self.config.rope_theta)
        for index, stack in enumerate(self.stacks):
            x = scan_layers(stack, x, cos, sin, visible, remat)
            if index == 0 and self.frozen_layers:
                x = jax.lax.stop_gradient(x)
        return rms_norm(x, self.norm[...], self.config.rms_norm_eps)


def scan_layers(stack: Layer, x: Array, cos: Array, sin: Array, visible: Visible, remat: bool) -> Array:
    """Apply the layers of a stack in turn; compiled once, whatever their number."""
    graph, weights = nnx.split(stack)

    def body(x: Array, layer: nnx.State) -> tuple[Array, None]:
        return nnx.merge(graph, layer)(x, cos, sin, visible), None

    return jax.lax.scan(jax.checkpoint(body) if remat else body, x, weights)[0]
