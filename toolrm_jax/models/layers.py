"""The decoder layer: norms, rotary positions, attention projections and the gated MLP.

Shape letters: B rows, T tokens of a row, D hidden, N attention heads, K key-value heads, G = N // K, H head_dim, F MLP.
Norms and rotary positions are computed in float32 whatever the compute dtype: their errors add up over layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from toolrm_jax.models.attention import Visible, attend
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.weights import Declared, Weight


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float) -> Float[Array, "... D"]:
    """Root-mean-square norm in float32, returned in the dtype of x."""
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (normed * scale.astype(jnp.float32)).astype(x.dtype)


def rotary(
    positions: Int[Array, "B T"], head_dim: int, theta: float
) -> tuple[Float[Array, "B T 1 H"], Float[Array, "B T 1 H"]]:
    """Cosines and sines of the rotary angles, in float32 (Su et al. 2021; halves layout, as in transformers)."""
    inverse = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[..., None].astype(jnp.float32) * inverse
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "B T N H"], cos: Array, sin: Array) -> Float[Array, "B T N H"]:
    """Turn each pair (i, i + H/2) of x by its angle."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)


def layer_weights(config: TrunkConfig) -> dict[str, Weight]:
    """Every weight of one decoder layer."""
    hidden, mlp = config.hidden_size, config.intermediate_size
    heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    here = "model.layers.{layer}."
    projection = {"linear": True}
    kv = ((hidden, kv_heads, head_dim), ("hidden", "kv_heads", "head_dim"))
    weights = {
        "attention_norm": Weight((hidden,), ("hidden",), here + "input_layernorm.weight", "ones"),
        "q": Weight(
            (hidden, heads, head_dim), ("hidden", "heads", "head_dim"), here + "self_attn.q_proj.weight", **projection
        ),
        "k": Weight(*kv, here + "self_attn.k_proj.weight", **projection),
        "v": Weight(*kv, here + "self_attn.v_proj.weight", **projection),
        "o": Weight(
            (heads, head_dim, hidden),
            ("heads", "head_dim", "hidden"),
            here + "self_attn.o_proj.weight",
            linear=True,
            inputs=2,
        ),
        "mlp_norm": Weight((hidden,), ("hidden",), here + "post_attention_layernorm.weight", "ones"),
        "gate": Weight((hidden, mlp), ("hidden", "mlp"), here + "mlp.gate_proj.weight", **projection),
        "up": Weight((hidden, mlp), ("hidden", "mlp"), here + "mlp.up_proj.weight", **projection),
        "down": Weight((mlp, hidden), ("mlp", "hidden"), here + "mlp.down_proj.weight", **projection),
    }
    if config.qkv_bias:
        for name, count, axis in (("q", heads, "heads"), ("k", kv_heads, "kv_heads"), ("v", kv_heads, "kv_heads")):
            weights[f"{name}_bias"] = Weight(
                (count, head_dim), (axis, "head_dim"), f"{here}self_attn.{name}_proj.bias", "zeros", flat=True
            )
    if config.qk_norm:
        for name in ("q", "k"):
            weights[f"{name}_norm"] = Weight((head_dim,), ("head_dim",), f"{here}self_attn.{name}_norm.weight", "ones")
    return weights


class Layer(Declared):
    """A decoder layer, or a stack of them along a leading axis (called one at a time by a scan)."""

    def __init__(self, config: TrunkConfig, *, layers: int = 0, rngs: nnx.Rngs) -> None:
        super().__init__(layer_weights(config), layers=layers, rngs=rngs)
        self.config = config

    def __call__(self, x: Float[Array, "B T D"], cos: Array, sin: Array, visible: Visible) -> Float[Array, "B T D"]:
        eps = self.config.rms_norm_eps
        with jax.named_scope("attention"):
            x = x + self.attention(rms_norm(x, self.attention_norm[...], eps), cos, sin, visible)
        with jax.named_scope("mlp"):
            x = x + self.mlp(rms_norm(x, self.mlp_norm[...], eps))
        return x

    def attention(self, x: Array, cos: Array, sin: Array, visible: Visible) -> Float[Array, "B T D"]:
        """Grouped-query self-attention over what `visible` lets each token see."""
        q_BTNH, k_BTKH, v_BTKH = (self.project(x, name) for name in ("q", "k", "v"))
        if self.config.qk_norm:
            q_BTNH = rms_norm(q_BTNH, self.q_norm[...], self.config.rms_norm_eps)
            k_BTKH = rms_norm(k_BTKH, self.k_norm[...], self.config.rms_norm_eps)
        out_BTNH = attend(rotate(q_BTNH, cos, sin), rotate(k_BTKH, cos, sin), v_BTKH, visible)
        return jnp.einsum("btnh,nhd->btd", out_BTNH, self.o[...].astype(x.dtype))

    def project(self, x: Array, name: str) -> Array:
        """Queries, keys or values: [B, T, heads, H]."""
        out = jnp.einsum("btd,dnh->btnh", x, getattr(self, name)[...].astype(x.dtype))
        return out + getattr(self, f"{name}_bias")[...].astype(x.dtype) if self.config.qkv_bias else out

    def mlp(self, x: Array) -> Float[Array, "B T D"]:
        """SwiGLU (Shazeer 2020)."""
        gate, up = (jnp.einsum("btd,df->btf", x, w[...].astype(x.dtype)) for w in (self.gate, self.up))
        return jnp.einsum("btf,fd->btd", jax.nn.silu(gate) * up, self.down[...].astype(x.dtype))
