"""The one list of a model's weights, and what is counted from it: parameters, and FLOPs of a token."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import head_weights, lm_head_weights
from toolrm_jax.models.layers import layer_weights
from toolrm_jax.models.trunk import trunk_weights
from toolrm_jax.models.weights import Weight

Path = tuple[str | int, ...]


def declarations(config: TrunkConfig, frozen_layers: int = 0) -> dict[Path, tuple[Weight, range]]:
    """Every parameter of a RewardModel by its path, with its declaration and the layers it stacks (empty: none).

    A parameter's shape is `(len(layers), *weight.shape)` and its logical axes `("layers", *weight.axes)`; without
    layers they are the weight's own.
    """
    none = range(0)
    found: dict[Path, tuple[Weight, range]] = {}
    found |= {(name,): (weight, none) for name, weight in (head_weights(config) | lm_head_weights(config)).items()}
    found |= {("trunk", name): (weight, none) for name, weight in trunk_weights(config).items()}
    edges = [0, frozen_layers, config.num_hidden_layers] if frozen_layers else [0, config.num_hidden_layers]
    stacks = [range(start, stop) for start, stop in pairwise(edges) if stop > start]
    for index, layers in enumerate(stacks):
        found |= {("trunk", "stacks", index, name): (weight, layers) for name, weight in layer_weights(config).items()}
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterCount:
    """Numbers of values, as model cards count them: without the scalar head.

    `embedding` is the embedding and, where it is a matrix of its own, the language-model head. `active` are those
    that one token meets: of experts only the chosen ones.
    """

    total: int
    embedding: int
    active: int

    @property
    def without_embedding(self) -> int:
        """All but `embedding`."""
        return self.total - self.embedding


def parameter_count(config: TrunkConfig) -> ParameterCount:
    """How many parameters a model of this shape has."""
    total = embedding = active = 0
    for path, (weight, layers) in declarations(config).items():
        if path == ("score",):
            continue
        size = weight.size * (len(layers) or 1)
        total += size
        embedding += size if "vocab" in weight.axes else 0
        active += size * config.num_experts_per_tok // weight.experts if weight.experts else size
    return ParameterCount(total, embedding, active)


def flops_per_token(
    config: TrunkConfig,
    keys: float,
    *,
    train: bool = False,
    frozen_layers: int = 0,
    predicted: float = 0.0,
    adapters: int = 0,
) -> float:
    """Useful floating-point operations of one token; a multiply-add counts as two.

    keys: how many keys a token sees, on the mean (half the row length for a causal row of one sequence).
    train: with the backward pass, twice the forward one of the layers above `frozen_layers` (and once that of logits,
    whose matrix is frozen with them); recomputation is not useful and not counted.
    predicted: the share of tokens whose logits over the vocabulary are made.
    adapters: values of low-rank adapters, which are then trained in place of the weights: what flows back through
    those still counts, their own gradients are not made.
    Norms, softmax, rotary positions and the embedding's look-up are left out: under a hundredth of a layer.
    """
    forward, backward = 2.0 * adapters, 4.0 * adapters
    own = 1 if adapters else 2
    for path, (weight, layers) in declarations(config, frozen_layers).items():
        stack = path[2] if path[:2] == ("trunk", "stacks") else None
        if not weight.linear:
            continue
        share = config.num_experts_per_tok / weight.experts if weight.experts else 1.0
        one = 2.0 * weight.size * share * (len(layers) or 1)
        forward += one
        backward += 0.0 if frozen_layers and stack == 0 else (2 if path == ("score",) else own) * one
    logits = 2.0 * config.vocab_size * config.hidden_size * predicted
    forward += logits
    backward += logits if frozen_layers else own * logits
    # Scores and weighted values: q·k and w·v over every key, for each head.
    attention = 4.0 * keys * config.num_attention_heads * config.head_dim
    forward += attention * config.num_hidden_layers
    backward += 2 * attention * (config.num_hidden_layers - frozen_layers)
    return forward + backward if train else forward
