"""The decoder without a head: embedding, layers in one or more scanned stacks, final norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.layers import Layer, rms_norm
from toolrm_jax.models.placement import constrain
from toolrm_jax.models.remat import Remat, rematerialised
from toolrm_jax.models.rope import rotary
from toolrm_jax.models.weights import Declared, Weight

if TYPE_CHECKING:
    from toolrm_jax.models.attention_backend import Backend

LAYERS = "layers"
"""The name of the loop over layers in profiles and compiled code (`toolrm_jax.parallel.hlo`)."""


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
        remat: Remat = "none",
        backend: Backend | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, ""]]:
        """Hidden states after the final norm, and the mean load-balancing loss of the layers (0 without experts).

        `dtype` is that of the computation, whatever the parameters' own; `backend` is attention's (None: XLA).
        """
        x, balance = self.embed(tokens, dtype), []
        for index, stack in enumerate(self.stacks):
            frozen = index == 0 and self.frozen_layers
            x, (layers, _) = self.scan(stack, x, positions, visible, "none" if frozen else remat, backend)
            if frozen:
                x, layers = jax.lax.stop_gradient((x, layers))
            balance.append(layers)
        return rms_norm(x, self.norm[...], self.config.rms_norm_eps), jnp.mean(jnp.concatenate(balance))

    def embed(self, tokens: Int[Array, "B T"], dtype: jnp.dtype) -> Float[Array, "B T D"]:
        """What enters the lowest layer.

        On a mesh each device looks up the tokens of its neighbours too, in its own columns of the table, and hidden
        states are exchanged after: the whole table would be gathered otherwise.
        """
        tokens = constrain(tokens, "lookup_rows", None)
        x = constrain(jnp.take(self.embedding[...], tokens, axis=0), "lookup_rows", None, "hidden").astype(dtype)
        x = constrain(x, "lookup_rows", "tokens", "lookup_hidden")
        return constrain(x, "rows", "tokens", None)

    def each_layer(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], visible: Visible, dtype: jnp.dtype = jnp.float32
    ) -> Float[Array, "L B T D"]:
        """Hidden states after every layer, before the final norm: to find the layer where two models part."""
        x, found = self.embed(tokens, dtype), []
        for stack in self.stacks:
            x, (_, states) = self.scan(stack, x, positions, visible, keep=True)
            found.append(states)
        return jnp.concatenate(found)

    def scan(
        self,
        stack: Layer,
        x: Array,
        positions: Array,
        visible: Visible,
        remat: Remat = "none",
        backend: Backend | None = None,
        keep: bool = False,
    ) -> tuple[Array, tuple[Array, Array | None]]:
        """Apply the layers of a stack in turn; compiled once, whatever their number.

        Gives the last hidden states and, of each layer, its load-balancing loss and (`keep`) its hidden states.
        """
        config = self.config
        cos, sin = rotary(positions, config.rope_theta, config.rope_scaling, config.head_dim)
        graph, weights = nnx.split(stack)

        def body(x: Array, layer: nnx.State) -> tuple[Array, tuple[Array, Array | None]]:
            x = constrain(x, "rows", "tokens", None)
            x, balance = nnx.merge(graph, layer)(x, cos, sin, visible, backend)
            return x, (balance, x if keep else None)

        # By this name a compiled step's loop over layers is told from its other loops.
        with jax.named_scope(LAYERS):
            return jax.lax.scan(rematerialised(body, remat), x, weights)
