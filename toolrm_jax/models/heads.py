"""What is read off the trunk: a scalar score per answer, and log-probabilities of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from toolrm_jax.models.attention import Visible
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.remat import Remat
from toolrm_jax.models.trunk import Trunk
from toolrm_jax.models.weights import Declared, Weight

if TYPE_CHECKING:
    from toolrm_jax.models.attention_backend import Backend

# Positions whose logits over the vocabulary are held at a time.
LOGIT_CHUNK = 128


def head_weights(config: TrunkConfig) -> dict[str, Weight]:
    """The scalar head: one output, no bias."""
    return {"score": Weight((config.hidden_size, 1), ("hidden", "score"), "score.weight", "zeros", linear=True)}


def lm_head_weights(config: TrunkConfig) -> dict[str, Weight]:
    """The language-model head, where it is not the embedding."""
    if config.tie_word_embeddings:
        return {}
    shape = config.vocab_size, config.hidden_size
    return {"lm_head": Weight(shape, ("vocab", "hidden"), "lm_head.weight", "embedding")}


class RewardModel(Declared):
    """Trunk and scalar head; the language-model head stays for likelihoods and the next-token loss."""

    def __init__(self, config: TrunkConfig, *, frozen_layers: int = 0, rngs: nnx.Rngs) -> None:
        super().__init__(head_weights(config) | lm_head_weights(config), rngs=rngs)
        self.trunk = Trunk(config, frozen_layers=frozen_layers, rngs=rngs)

    @property
    def config(self) -> TrunkConfig:
        """Sizes of the trunk."""
        return self.trunk.config

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        visible: Visible,
        dtype: jnp.dtype = jnp.float32,
        remat: Remat = "none",
        backend: Backend | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T"]]:
        """Hidden states and the score read at every token."""
        return self.with_balance(tokens, positions, visible, dtype, remat, backend)[:2]

    def with_balance(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        visible: Visible,
        dtype: jnp.dtype = jnp.float32,
        remat: Remat = "none",
        backend: Backend | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T"], Float[Array, ""]]:
        """The same, and the load-balancing loss of the experts: 0 without, num_experts_per_tok when balanced."""
        hidden, balance = self.trunk(tokens, positions, visible, dtype, remat, backend)
        return hidden, self.rewards(hidden), balance

    def rewards(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T"]:
        """The score read at every token, float32: the logit of a Bradley-Terry model."""
        score = self.score[...].astype(jnp.float32)
        # An accelerator's default would round both factors to 8 or 10 bits.
        return jnp.matmul(hidden.astype(jnp.float32), score, precision=jax.lax.Precision.HIGHEST)[..., 0]

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Every token's logit as the next one, float32. All stand in memory at once: for a few positions."""
        rows = self.unembedding.astype(hidden.dtype)
        return jnp.einsum("btd,vd->btv", hidden, rows, preferred_element_type=jnp.float32)

    @property
    def unembedding(self) -> Float[Array, "V D"]:
        """Rows that give each token's logit."""
        return self.trunk.embedding[...] if self.config.tie_word_embeddings else self.lm_head[...]

    def log_probabilities(
        self, hidden: Float[Array, "B T D"], source: Int[Array, "B M"], target: Int[Array, "B M"]
    ) -> Float[Array, "B M"]:
        """log p of token `target` as predicted from position `source`, float32.

        The logits are made for LOGIT_CHUNK positions at a time, so V x M of them never stand in memory at once.
        """
        taken = jnp.take_along_axis(hidden, source[..., None], axis=1)
        B, M, D = taken.shape
        pad = -(B * M) % LOGIT_CHUNK
        x = jnp.pad(taken.reshape(B * M, D), ((0, pad), (0, 0))).reshape(-1, LOGIT_CHUNK, D)
        y = jnp.pad(target.reshape(B * M), (0, pad)).reshape(-1, LOGIT_CHUNK)
        rows = self.unembedding.astype(hidden.dtype)

        @jax.checkpoint
        def chunk(pair: tuple[Array, Array]) -> Array:
            logits = jnp.einsum("md,vd->mv", pair[0], rows, preferred_element_type=jnp.float32)
            return jnp.take_along_axis(logits, pair[1][:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)

        return jax.lax.map(chunk, (x, y)).reshape(-1)[: B * M].reshape(B, M)
