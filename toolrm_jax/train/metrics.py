"""Where the numbers of a run go: JSON lines, TensorBoard, the terminal, and Weights & Biases where asked for.

`metrics.jsonl` holds what follows from config, data and weights alone: a run killed and resumed has it byte for byte
as one that was not. What a clock or a meter says stands in `speed.jsonl`.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import write_file
from toolrm_jax.train.board import Board

METRICS, SPEED, WANDB = "metrics.jsonl", "speed.jsonl", "wandb_id"


class MetricLog:
    """Writes one record per step to all of them. Reopened at step `start`, it drops records of later steps first.

    judged: whether the held-out groups were judged at `start` by the state that is gone on from; if not, a record of
    that is dropped too, since it comes again. Raises DataError where the disk is full or the folder not to be written.
    """

    def __init__(self, folder: Path, start: int, steps: int, wandb: Any = None, judged: bool = True) -> None:
        with _written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.files = {name: _reopened(folder, name, start, judged) for name in (METRICS, SPEED)}
            # All points of a start from the beginning replace those of one that saved nothing.
            self.board = Board(folder / "tensorboard", start + 1 if start else 0)
        self.folder = folder
        self.wandb = wandb
        self.bar = tqdm(
            total=steps, initial=start, unit="step", desc="train", dynamic_ncols=True, file=sys.stderr, mininterval=1
        )

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Record `values` of `step`; `kind` is "train", "held_out", or "speed"."""
        file = self.files[SPEED if kind == "speed" else METRICS]
        with _written(self.folder):
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            file.flush()
            for name, value in values.items():
                self.board.write(f"{kind}/{name}", value, step)
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
        with _written(self.folder):
            for file in self.files.values():
                os.fsync(file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        # What ends the run is told, not that what could not be written cannot be written now.
        with suppress(DataError) if kind else nullcontext():
            for closes in (*self.files.values(), self.board):
                with _written(self.folder):
                    closes.close()
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(kind is not None))


def start_wandb(project: str, folder: Path, config: dict[str, Any], start: int) -> Any:
    """A run of Weights & Biases, named as its folder: a new one, or from a step `start` on that which the run has.

    Its id is drawn and kept in the folder, since folders of many runs have one name. Raises ConfigError.
    """
    try:
        import wandb
    except ImportError:
        raise ConfigError(
            f"wandb={project}: the package is not installed; `pip install 'toolrm_jax[wandb]'`, or leave it"
        ) from None
    name, kept = folder.absolute().name, folder / WANDB
    if start == 0 or not kept.is_file():
        write_file(kept, secrets.token_hex(8))
    run = wandb.init(project=project, name=name, id=kept.read_text(), resume="allow", dir=str(folder), config=config)
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


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Inside, an error of the system is a DataError of one line: most of its kinds bear no file's name."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: the run's record cannot be written ({error.strerror}); free space on the disk, or see that the "
            f"folder can be written to, and start the same command: it goes on from the last checkpoint"
        ) from error


def _reopened(folder: Path, name: str, start: int, judged: bool) -> Any:
    """The file, for appending, with the records up to step `start`; a run from the beginning has none."""

    def stays(record: dict[str, Any]) -> bool:
        return record["step"] < start or (record["step"] == start and (judged or record["kind"] != "held_out"))

    kept = [record for record in read_metrics(folder, name) if stays(record)] if start else []
    path = folder / name
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write("".join(json.dumps(record) + "\n" for record in kept))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path.open("a")
