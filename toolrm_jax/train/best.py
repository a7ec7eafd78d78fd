"""Which checkpoint is the best so far, by one held-out metric."""

from __future__ import annotations

from typing import Any

from orbax.checkpoint.checkpoint_managers import preservation_policy as preserve

LOWER_IS_BETTER = ("loss", "ranking", "token_error", "next_token", "next_token_context")


class Best(preserve.PreservationPolicy):
    """Keeps the checkpoint with the best value of one held-out metric, the newest of equals; without a metric, none."""

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.sign = -1 if metric in LOWER_IS_BETTER else 1
        self.measured: dict[int, dict[str, float]] = {}

    def should_preserve(self, checkpoints: Any, *, context: preserve.PreservationContext) -> list[bool]:
        steps = [info.step for info in checkpoints]
        known = [
            (self.sign * found[self.metric], step)
            for step in steps
            if self.metric and self.metric in (found := self.measured.get(step, {}))
        ]
        best = max(known)[1] if known else None
        return [step == best for step in steps]
