"""A layer's experts: a top-k router, a dispatch without capacity, and the load-balancing loss.

Shape letters: B rows, T tokens of a row, D hidden, F the inner width of an expert, E experts, k experts of a token,
M = tokens x k choices. Under a placement: e = E over the `expert` axis, the experts that a device holds.

No token is dropped whatever the imbalance: choices are sorted by expert and multiplied by `jax.lax.ragged_dot`, which
takes groups of any size. On a mesh each device gathers the tokens of its `expert` peers, applies the experts it
holds, and the results are summed back (reduce-scatter). An all-to-all would move less only where a token's experts
stand on few devices: with 8 of 128 experts over 8 devices a token goes to 5.3 of them on average.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from toolrm_jax.models.activation import swiglu
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.placement import Placement, constrain, placement_in_force
from toolrm_jax.models.weights import Fused, Weight

TOKEN_AXES = ("rows", "tokens", None)


def expert_weights(config: TrunkConfig, layer: str) -> dict[str, Weight]:
    """The router and the gated MLPs of a layer's experts. `layer` is the layer's prefix of Hugging Face names."""
    hidden, mlp, experts = config.hidden_size, config.moe_intermediate_size, config.num_experts
    one, fused = layer + "mlp.experts.{expert}.", layer + "mlp.experts."
    into, back = ("experts", "hidden", "mlp"), ("experts", "mlp", "hidden")
    gate, up = (Fused(fused + "gate_up_proj", part, parts=2) for part in (0, 1))
    down = Fused(fused + "down_proj")
    return {
        "router": Weight((hidden, experts), ("hidden", "router"), layer + "mlp.gate.weight", linear=True),
        "gate": Weight((experts, hidden, mlp), into, one + "gate_proj.weight", linear=True, fused=gate),
        "up": Weight((experts, hidden, mlp), into, one + "up_proj.weight", linear=True, fused=up),
        "down": Weight((experts, mlp, hidden), back, one + "down_proj.weight", linear=True, fused=down),
    }


def route(
    x: Float[Array, "B T D"], router: Float[Array, "D E"], count: int, normalised: bool
) -> tuple[Float[Array, "B T E"], Float[Array, "B T k"], Int[Array, "B T k"]]:
    """Each token's probability of every expert, and weights and numbers of its `count` likeliest, in float32.

    `normalised`: the weights of a token sum to one. In bfloat16 near ties would choose other experts than in float32.
    """
    highest = jax.lax.Precision.HIGHEST
    logits = jnp.einsum("btd,de->bte", x.astype(jnp.float32), router.astype(jnp.float32), precision=highest)
    probabilities = jax.nn.softmax(constrain(logits, *TOKEN_AXES), axis=-1)
    weights, chosen = jax.lax.top_k(probabilities, count)
    if normalised:
        weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    return probabilities, weights, chosen


def balance_loss(
    probabilities: Float[Array, "B T E"], chosen: Int[Array, "B T k"], real: Bool[Array, "B T"]
) -> Float[Array, ""]:
    """E x sum over experts of (choices per token) x (mean probability); k when balanced (Switch, equations 4 to 6).

    Over all real tokens that are computed at once, on every device: balance within each small batch would forbid that
    experts specialise. A step in parts has the mean of its parts' losses, which is more than that of all its tokens
    where the parts choose other experts: the shares of all would be known only after a forward pass over all parts.
    Only the probabilities have a gradient.
    """
    experts = probabilities.shape[-1]
    tokens = jnp.maximum(jnp.sum(real), 1)
    share = jnp.sum(jax.nn.one_hot(chosen, experts) * real[..., None, None], axis=(0, 1, 2)) / tokens
    probability = jnp.sum(probabilities * real[..., None], axis=(0, 1)) / tokens
    return experts * jnp.sum(share * probability)


def apply_experts(
    x: Float[Array, "B T D"],
    weights: Float[Array, "B T k"],
    chosen: Int[Array, "B T k"],
    gate: Float[Array, "E D F"],
    up: Float[Array, "E D F"],
    down: Float[Array, "E F D"],
) -> Float[Array, "B T D"]:
    """The weighted sum of each token's experts, in the dtype of x. A choice of E or more is of no expert."""
    placement = placement_in_force()
    if placement is None:
        return _local(x, weights, chosen, gate, up, down, first=0).astype(x.dtype)
    tokens = placement.spec(*TOKEN_AXES)
    into, back = placement.spec("experts", None, "mlp"), placement.spec("experts", "mlp", None)
    return jax.shard_map(
        functools.partial(_on_mesh, placement=placement),
        mesh=placement.mesh,
        in_specs=(tokens, tokens, tokens, into, into, back),
        out_specs=tokens,
        check_vma=False,
    )(x, weights, chosen, gate, up, down)


def _on_mesh(
    x: Array, weights: Array, chosen: Array, gate: Array, up: Array, down: Array, placement: Placement
) -> Array:
    """One device's part: the tokens of its `experts` peers through the experts that it holds."""
    over_experts, over_mlp = (_mesh_axes(placement, axis) for axis in ("experts", "mlp"))
    if over_experts:
        gather = functools.partial(jax.lax.all_gather, axis_name=over_experts, axis=0, tiled=True)
        x, weights, chosen = gather(x), gather(weights), gather(chosen)
    first = jax.lax.axis_index(over_experts) * gate.shape[0] if over_experts else 0
    out = _local(x, weights, chosen, gate, up, down, first)
    if over_experts:
        out = jax.lax.psum_scatter(out, over_experts, scatter_dimension=0, tiled=True)
    return (jax.lax.psum(out, over_mlp) if over_mlp else out).astype(x.dtype)


def _mesh_axes(placement: Placement, axis: str) -> tuple[str, ...]:
    (part,) = placement.spec(axis) or PartitionSpec(None)
    names = part if isinstance(part, tuple) else () if part is None else (part,)
    return tuple(name for name in names if placement.mesh.shape[name] > 1)


def _local(
    x: Array, weights: Array, chosen: Array, gate: Array, up: Array, down: Array, first: int | Array
) -> Float[Array, "B T D"]:
    """The sum over experts first ... first + e - 1 of what they make of the tokens that chose them; float32."""
    (B, T, D), k, held = x.shape, chosen.shape[-1], gate.shape[0]
    expert_M = chosen.reshape(-1) - first
    expert_M = jnp.where((expert_M >= 0) & (expert_M < held), expert_M, held)
    order_M = jnp.argsort(expert_M, stable=True)
    inverse_M = jnp.argsort(order_M)
    sizes_E = jnp.bincount(expert_M, length=held)
    # Choices of experts held elsewhere come last. A ragged product says nothing of rows beyond its groups, so they
    # are masked on the way in and out: neither values nor gradients of theirs reach a token.
    here_M1 = (jnp.arange(B * T * k) < jnp.sum(sizes_E))[:, None]
    repeated_MD = jnp.repeat(x.reshape(B * T, D), k, axis=0)
    rows_MD = jnp.where(here_M1, permute(repeated_MD, order_M, inverse_M), 0)
    multiply = functools.partial(jax.lax.ragged_dot, group_sizes=sizes_E)
    with jax.named_scope("experts"):
        inner_MF = swiglu(multiply(rows_MD, gate.astype(x.dtype)), multiply(rows_MD, up.astype(x.dtype)))
        out_MD = multiply(inner_MF, down.astype(x.dtype), preferred_element_type=jnp.float32)
    out_MD = permute(jnp.where(here_M1, out_MD, 0), inverse_M, order_M)
    return jnp.sum(out_MD.reshape(B, T, k, D) * weights[..., None], axis=2)


@jax.custom_vjp
def permute(x: Float[Array, "M D"], order: Int[Array, " M"], inverse: Int[Array, " M"]) -> Float[Array, "M D"]:
    """x[order]. Its gradient gathers by `inverse`; JAX's own would scatter, which is slow where it can collide."""
    return x[order]


def _permute_forward(x: Array, order: Array, inverse: Array) -> tuple[Array, Array]:
    return x[order], inverse


def _permute_backward(inverse: Array, gradient: Array) -> tuple[Array, None, None]:
    return gradient[inverse], None, None


permute.defvjp(_permute_forward, _permute_backward)
