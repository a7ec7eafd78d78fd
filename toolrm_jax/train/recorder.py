"""The numbers of a step, fetched once the next one is under way, checked, and written down."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from toolrm_jax.data.dataset import RowSource
from toolrm_jax.errors import ToolrmError
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.train.metrics import MetricLog
from toolrm_jax.train.run_folder import saved_steps
from toolrm_jax.train.speed import step_speed


class NotFinite(ToolrmError):
    """The loss or a gradient became infinite or not a number."""


def more_gently(output: Path) -> str:
    """The way out of a loss that is not finite. A run that has begun keeps its learning rate."""
    if not (saved := saved_steps(output)):
        return "there is no checkpoint yet: start the same command with a lower optimizer.learning_rate"
    return (
        f"the checkpoint of step {saved[-1]} is kept: `toolrm export` it, and train on from that folder (model.path) "
        f"in another output, with a lower optimizer.learning_rate"
    )


class StepRecorder:
    """Holds the numbers of the newest step until they are fetched, one step later."""

    def __init__(
        self,
        log: MetricLog,
        rates: Sequence[float],
        source: RowSource,
        rows: int,
        shape: TrunkConfig,
        frozen_layers: int,
        adapters: int,
        devices: list[jax.Device],
    ) -> None:
        self.log, self.rates, self.source, self.rows = log, rates, source, rows
        self.shape, self.frozen_layers, self.adapters, self.devices = shape, frozen_layers, adapters, devices
        self.waiting: tuple[int, dict[str, Any], float] | None = None
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the next step's speed."""
        self.clock = time.perf_counter()

    def record(self, step: int, metrics: dict[str, Any], waited: float = 0.0) -> None:
        """Take a dispatched step's numbers, still being computed; `waited` seconds went by for its rows."""
        self.waiting = step, metrics, waited

    def flush(self) -> None:
        """Write the waiting numbers, if any. Raises NotFinite, with the ids of the step's groups."""
        if self.waiting is None:
            return
        (step, metrics, waited), self.waiting = self.waiting, None
        metrics = jax.device_get(metrics)
        loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NotFinite(self._not_finite(step, loss, norm))
        now = time.perf_counter()
        seconds, self.clock = now - self.clock, now
        tokens, counts = int(metrics["tokens"]), metrics["sums"].counts
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": float(self.rates[step - 1])}
        values |= metrics["sums"].means() | {"groups": int(metrics["groups"]), "pairs": int(counts.pairs)}
        values |= {"tokens": tokens, "padding": 1 - tokens / (self.rows * self.source.length)}
        self.log.write("train", step, values)
        predicted = {"next_token": counts.next_tokens, "next_token_context": counts.context_tokens}
        speed = step_speed(
            self.shape,
            self.frozen_layers,
            self.adapters,
            seconds,
            tokens,
            float(counts.pairs),
            float(metrics["keys"]),
            sum(float(count) for name, count in predicted.items() if name in values),
            self.devices,
        )
        self.log.write("speed", step, speed | {"data_wait": waited})
        shown = {"loss": f"{loss:.3f}", "tok/s": f"{speed['tokens_per_second']:.0f}"}
        shown |= {"acc": f"{values['correct']:.2f}"} if "correct" in values else {}
        self.log.advance(step, shown | ({"mfu": f"{speed['mfu']:.0%}"} if "mfu" in speed else {}))

    def _not_finite(self, step: int, loss: float, norm: float) -> str:
        ids = self.source.ids(range((step - 1) * self.rows, step * self.rows))
        return (
            f"step {step}: loss {loss}, gradient norm {norm} on groups {', '.join(ids[:8])}"
            f"{' …' if len(ids) > 8 else ''}"
        )
