"""Where the numbers of a run go: JSON lines, TensorBoard, the terminal, and Weights & Biases where asked for.

`metrics.jsonl` holds what follows from config, data and weights alone: a run killed and resumed has it byte for byte
as one that was not. What a clock or a meter says stands in `speed.jsonl`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from toolrm_jax.errors import ConfigError

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"


class MetricLog:
    """Writes one record per step to all of them. Reopened at step `start`, it drops records of later steps first."""

    def __init__(self, folder: Path, start: int, steps: int, wandb: Any = None) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.files = {name: _reopened(folder, name, start) for name in (METRICS, SPEED)}
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)
        self.wandb = wandb
        self.bar = tqdm(
            total=steps, initial=start, unit="step", desc="train", dynamic_ncols=True, file=sys.stderr, mininterval=1
        )

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Record `values` of `step`; `kind` is "train", "held_out", or "speed"."""
        file = self.files[SPEED if kind == "speed" else METRICS]
        file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        file.flush()
        for name, value in values.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)
        if self.wandb is not None:
            self.wandb.log({f"{kind}/{name}": value for name, value in values.items()} | {"step": step})

    def advance(self, step: int, shown: dict[str, str]) -> None:
        """Move the progress bar to `step`."""
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - self.bar.n)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        self.bar.write(line, file=sys.stderr)

    def sync(self) -> None:
        """See that what was written is on disk: called before a checkpoint, which counts on the steps before it."""
        for file in self.files.values():
            os.fsync(file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        for file in self.files.values():
            file.close()
        self.board.close()
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(kind is not None))


def start_wandb(project: str, folder: Path, config: dict[str, Any]) -> Any:
    """A run of Weights & Biases under the name of its folder, gone on with after a restart. Raises ConfigError."""
    try:
        import wandb
    except ImportError:
        raise ConfigError(
            f"wandb={project}: the package is not installed; `pip install 'toolrm_jax[wandb]'`, or leave it"
        ) from None
    name = folder.absolute().name
    run = wandb.init(project=project, name=name, id=name, resume="allow", dir=str(folder), config=config)
    # Steps are told as a value: after a kill some come again, which wandb's own counter refuses.
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return run


def read_metrics(folder: Path, name: str = METRICS) -> list[dict[str, Any]]:
    """The records of a run so far; none where it has not begun. A cut-off last line is left out."""
    path = folder / name
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _reopened(folder: Path, name: str, start: int) -> Any:
    """The file, for appending, with the records up to step `start`; a run from the beginning has none."""
    kept = [record for record in read_metrics(folder, name) if record["step"] <= start] if start else []
    path = folder / name
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write("".join(json.dumps(record) + "\n" for record in kept))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path.open("a")
