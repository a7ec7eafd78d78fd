"""The decoder layer: norms, attention projections, and a gated MLP or experts.

Shape letters: B rows, T tokens of a row, D hidden, N attention heads, K key-value heads, G = N // K, H head_dim, F MLP.
Norms and rotary positions are computed in float32 whatever the compute dtype: their errors add up over layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from toolrm_jax.models.activation import swiglu
from toolrm_jax.models.attention import Visible, attend
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.moe import apply_experts, balance_loss, expert_weights, route
from toolrm_jax.models.placement import constrain
from toolrm_jax.models.rope import rotate
from toolrm_jax.models.weights import Declared, Weight

if TYPE_CHECKING:
    from toolrm_jax.models.attention_backend import Backend

Attention = Callable[[Float[Array, "B T N H"], Float[Array, "B T K H"], Float[Array, "B T K H"]], Array]
"""Of rotated queries, rotated keys, and values what each query reads: [B, T, N, H]."""


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float) -> Float[Array, "... D"]:
    """Root-mean-square norm in float32, returned in the dtype of x."""
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (normed * scale.astype(jnp.float32)).astype(x.dtype)


def layer_weights(config: TrunkConfig) -> dict[str, Weight]:
    """Every weight of one decoder layer."""
    hidden, here = config.hidden_size, "model.layers.{layer}."
    norms = {
        "attention_norm": Weight((hidden,), ("hidden",), here + "input_layernorm.weight", "ones"),
        "mlp_norm": Weight((hidden,), ("hidden",), here + "post_attention_layernorm.weight", "ones"),
    }
    mlp = expert_weights(config, here) if config.family.experts else mlp_weights(config, here)
    return norms | attention_weights(config, here) | mlp


def attention_weights(config: TrunkConfig, layer: str) -> dict[str, Weight]:
    """Projections, with biases or norms where the architecture has them."""
    hidden, head_dim = config.hidden_size, config.head_dim
    counts = {"q": ("heads", config.num_attention_heads)}
    counts |= dict.fromkeys(("k", "v"), ("kv_heads", config.num_key_value_heads))
    here, weights = layer + "self_attn.", {}
    for name, (axis, count) in counts.items():
        weights[name] = Weight(
            (hidden, count, head_dim), ("hidden", axis, "head_dim"), f"{here}{name}_proj.weight", linear=True
        )
        if config.family.qkv_bias:
            weights[f"{name}_bias"] = Weight(
                (count, head_dim), (axis, "head_dim"), f"{here}{name}_proj.bias", "zeros", flat=True
            )
        if config.family.qk_norm and name != "v":
            weights[f"{name}_norm"] = Weight((head_dim,), ("head_dim",), f"{here}{name}_norm.weight", "ones")
    weights["o"] = Weight(
        (config.num_attention_heads, head_dim, hidden),
        ("heads", "head_dim", "hidden"),
        here + "o_proj.weight",
        linear=True,
        inputs=2,
    )
    return weights


def mlp_weights(config: TrunkConfig, layer: str) -> dict[str, Weight]:
    """The gated MLP of a dense layer."""
    hidden, mlp = config.hidden_size, config.intermediate_size
    return {
        "gate": Weight((hidden, mlp), ("hidden", "mlp"), layer + "mlp.gate_proj.weight", linear=True),
        "up": Weight((hidden, mlp), ("hidden", "mlp"), layer + "mlp.up_proj.weight", linear=True),
        "down": Weight((mlp, hidden), ("mlp", "hidden"), layer + "mlp.down_proj.weight", linear=True),
    }


class Layer(Declared):
    """A decoder layer, or a stack of them along a leading axis (called one at a time by a scan)."""

    def __init__(self, config: TrunkConfig, *, layers: int = 0, rngs: nnx.Rngs) -> None:
        super().__init__(layer_weights(config), layers=layers, rngs=rngs)
        self.config = config

    def __call__(
        self, x: Float[Array, "B T D"], cos: Array, sin: Array, visible: Visible, backend: Backend | None = None
    ) -> tuple[Float[Array, "B T D"], Float[Array, ""]]:
        """The hidden states after the layer, and its load-balancing loss (0 without experts)."""
        return self.with_attention(x, cos, sin, visible, lambda q, k, v: attend(q, k, v, visible, backend))

    def with_attention(
        self, x: Float[Array, "B T D"], cos: Array, sin: Array, visible: Visible, attention: Attention
    ) -> tuple[Float[Array, "B T D"], Float[Array, ""]]:
        """The same with an attention of the caller's, which may have keys and values of earlier tokens at hand.

        `visible` says here only which tokens are real: padding goes to no expert.
        """
        eps = self.config.rms_norm_eps
        with jax.named_scope("attention"):
            x = x + self.attention(rms_norm(x, self.attention_norm[...], eps), cos, sin, attention)
        with jax.named_scope("mlp"):
            normed = rms_norm(x, self.mlp_norm[...], eps)
            if self.config.family.experts:
                out, balance = self.experts(normed, visible)
            else:
                out, balance = self.mlp(normed), jnp.zeros(())
        return constrain(x + out, "rows", "tokens", None), balance

    def attention(self, x: Array, cos: Array, sin: Array, attention: Attention) -> Float[Array, "B T D"]:
        """Grouped-query self-attention between the projections."""
        q_BTNH, k_BTKH, v_BTKH = (self.project(x, name) for name in ("q", "k", "v"))
        if self.config.family.qk_norm:
            q_BTNH = rms_norm(q_BTNH, self.q_norm[...], self.config.rms_norm_eps)
            k_BTKH = rms_norm(k_BTKH, self.k_norm[...], self.config.rms_norm_eps)
        out_BTNH = attention(rotate(q_BTNH, cos, sin), rotate(k_BTKH, cos, sin), v_BTKH)
        # einsum sums over letters in the order of the alphabet: with n for the heads, which come before h in memory,
        # the weight and what it is multiplied by would both be copied.
        return self.linear("o", "btgh,ghd->btd", out_BTNH)

    def project(self, x: Array, name: str) -> Array:
        """Queries, keys or values: [B, T, heads, H]."""
        out = self.linear(name, "btd,dnh->btnh", x)
        return out + getattr(self, f"{name}_bias")[...].astype(x.dtype) if self.config.family.qkv_bias else out

    def mlp(self, x: Array) -> Float[Array, "B T D"]:
        """The gated MLP."""
        gate, up = (self.linear(name, "btd,df->btf", x) for name in ("gate", "up"))
        hidden_BTF = constrain(swiglu(gate, up), "rows", "tokens", "mlp")
        return self.linear("down", "btf,fd->btd", hidden_BTF)

    def linear(self, name: str, equation: str, x: Array) -> Array:
        """x times the weight `name` by the einsum `equation`, in x's dtype, with its adapter where it has one."""
        out = jnp.einsum(equation, x, getattr(self, name)[...].astype(x.dtype))
        if not hasattr(self, f"{name}_lora_a"):
            return out
        a, b = (getattr(self, f"{name}_lora_{side}")[...].astype(x.dtype) for side in "ab")
        of_x, of_weight, of_out = equation.replace("->", ",").split(",")
        inner = "".join(letter for letter in of_weight if letter in of_x)
        outer = of_weight.removeprefix(inner)
        low = "".join(letter for letter in of_x if letter not in inner) + "r"
        change = jnp.einsum(f"{low},r{outer}->{of_out}", jnp.einsum(f"{of_x},{inner}r->{low}", x, a), b)
        return out + self.adapter_scale * change

    def experts(self, x: Array, visible: Visible) -> tuple[Float[Array, "B T D"], Float[Array, ""]]:
        """The experts that each token chooses, and the load-balancing loss. Padding goes to no expert."""
        config, real = self.config, visible.real
        probabilities, weights, chosen = route(x, self.router[...], config.num_experts_per_tok, config.norm_topk_prob)
        balance = balance_loss(probabilities, chosen, real)
        chosen = jnp.where(real[..., None], chosen, config.num_experts)
        return apply_experts(x, weights, chosen, self.gate[...], self.up[...], self.down[...]), balance
