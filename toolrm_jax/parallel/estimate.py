"""How fast a step could be at best on a kind of chip: an estimate from published peaks, not a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import flops_per_token
from toolrm_jax.parallel.topology import Topology


@dataclass(frozen=True, slots=True)
class Group:
    """How rows are filled, to count work: groups of `answers` answers of `response` tokens to `context` tokens.

    One of the answers is right.
    """

    context: int
    response: int
    answers: int = 2

    @property
    def tokens(self) -> int:
        """Tokens of a group: the context once."""
        return self.context + self.answers * self.response

    @property
    def keys(self) -> float:
        """Keys that a token sees on the mean: those before it in the context and in its own answer, and itself."""
        context = self.context * (self.context + 1) / 2
        answer = self.response * (self.context + (self.response + 1) / 2)
        return (context + self.answers * answer) / self.tokens

    @property
    def right(self) -> float:
        """The share of its tokens that are the right answer's: those of the next-token loss."""
        return self.response / self.tokens

    @property
    def of_context(self) -> float:
        """The share of its tokens that are the context's, but for the first: those of the loss on contexts."""
        return (self.context - 1) / self.tokens


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a step takes at least: `compute` at the chips' peak, `links` and `network` at those within a slice
    and between slices (None: not known).

    flops_per_token is useful work alone; recomputation (remat) is added for `compute`.
    """

    flops_per_token: float
    flops_per_group: float
    compute: float
    links: float
    network: float | None
    tokens: int

    @property
    def seconds(self) -> float:
        """As if sending hid wholly behind computing, or the reverse."""
        return max(self.compute, self.links, self.network or 0.0)

    @property
    def tokens_per_second(self) -> float:
        """Of all chips together."""
        return self.tokens / self.seconds


def estimate(
    shape: TrunkConfig,
    group: Group,
    topology: Topology,
    tokens: int,
    sent: int,
    sent_between: int | None,
    *,
    train: bool,
    frozen_layers: int = 0,
    adapters: int = 0,
    predicted: float = 0.0,
    recomputed: float = 0.0,
) -> Estimate:
    """The estimate of a step of `tokens` tokens in which each device sends `sent` bytes within its slice, and others
    to other slices (None: not known).

    adapters, predicted: see `flops_per_token`.
    recomputed: the share of the forward pass of trained layers that remat runs twice.
    """
    useful = flops_per_token(
        shape, group.keys, train=train, frozen_layers=frozen_layers, predicted=predicted, adapters=adapters
    )
    again = 0.0
    if train and recomputed:
        trained = (shape.num_hidden_layers - frozen_layers) / shape.num_hidden_layers
        again = recomputed * trained * flops_per_token(shape, group.keys, adapters=adapters)
    return Estimate(
        flops_per_token=useful,
        flops_per_group=useful * group.tokens,
        compute=tokens * (useful + again) / (topology.chips * topology.chip.flops),
        links=sent * topology.chip.devices / topology.chip.ici,
        network=None if sent_between is None else sent_between * topology.chip.devices / topology.chip.dcn,
        tokens=tokens,
    )
