"""Where the numbers of a run go: a JSONL file, TensorBoard, and the terminal's progress bar."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm


class MetricLog:
    """Writes one record per step to all three. Reopened at `start`, it drops records of later steps first."""

    def __init__(self, folder: Path, start: int, steps: int) -> None:
        from tensorboardX import SummaryWriter

        self.path = folder / "metrics.jsonl"
        kept = [record for record in read_metrics(folder) if record["step"] <= start]
        folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        temporary.replace(self.path)
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start or None)
        self.bar = tqdm(
            total=steps, initial=start, unit="step", desc="train", dynamic_ncols=True, file=sys.stderr, mininterval=1
        )

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Record `values` of `step`; `kind` is "train" or "held_out"."""
        self.file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def advance(self, step: int, shown: dict[str, str]) -> None:
        """Move the progress bar to `step`."""
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - self.bar.n)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        self.bar.write(line, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        self.file.close()
        self.board.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The records of a run so far; none where it has not begun. A cut-off last line is left out."""
    path = folder / "metrics.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
