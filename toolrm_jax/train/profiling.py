"""A trace of some steps, for TensorBoard's profiler or Perfetto."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import chz
import jax

from toolrm_jax.errors import ConfigError


@chz.chz
class ProfileConfig:
    """Which steps are traced; the trace goes to `profile/` of the run."""

    steps: str = ""  # FIRST:LAST, such as 10:13; empty: none

    def span(self) -> tuple[int, int] | None:
        """First and last traced step. Raises ConfigError."""
        if not self.steps:
            return None
        first, colon, last = self.steps.partition(":")
        if not (colon and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
            raise ConfigError(f"profile.steps={self.steps}: expected FIRST:LAST, such as 10:13")
        return int(first), int(last)


class Profile:
    """Starts and ends the trace as steps of a run of `steps` come by. Raises ConfigError where it has none of them."""

    def __init__(self, config: ProfileConfig, folder: Path, steps: int) -> None:
        self.span, self.folder = config.span(), folder / "profile"
        if self.span and self.span[0] > steps:
            raise ConfigError(f"profile.steps={config.steps}: the run has {steps} steps; name some of these")
        if self.span and jax.default_backend() == "cpu" and find_spec("libtpu") and jax.config.jax_platforms != "cpu":
            raise ConfigError(
                "profile.steps: JAX's profiler crashes on a CPU where libtpu is installed; set JAX_PLATFORMS=cpu"
            )
        self.traced: list[int] = []
        self.running = False

    def missed(self, start: int) -> list[str]:
        """The line to say where a run goes on after `start`, when the steps to be traced are done, or some of them."""
        if self.span is None or start < self.span[0]:
            return []
        left = f"from step {start + 1} on" if start < self.span[1] else "nothing"
        return [f"profile.steps={self.span[0]}:{self.span[1]}: step {start} is done already; traced is {left}"]

    def before(self, step: int) -> None:
        """Step `step` is about to be dispatched."""
        if self.span is None or not self.span[0] <= step <= self.span[1]:
            return
        if not self.running:
            jax.profiler.start_trace(str(self.folder))
            self.running = True
        self.traced.append(step)

    def after(self, step: int, result: object) -> str | None:
        """Step `step` was dispatched and gives `result`; at the last one, waits for it. A line to say, or None."""
        if not (self.running and self.span and step >= self.span[1]):
            return None
        jax.block_until_ready(result)
        return self.stop()

    def stop(self) -> str | None:
        """End a trace under way, whether it has come to its last step or the run ends before."""
        if not self.running:
            return None
        jax.profiler.stop_trace()
        self.running = False
        return f"trace of steps {self.traced[0]} to {self.traced[-1]}: tensorboard --logdir {self.folder}"
