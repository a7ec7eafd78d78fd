"""The training loop: restore, then evaluate, take a batch, step, record and save until done or asked to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import chz
import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from toolrm_jax.data.dataset import RowSource, batches
from toolrm_jax.data.rows import Rows
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError, ToolrmError
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.parallel.mesh import data_mesh, replicate, spread
from toolrm_jax.train.checkpoints import Checkpoints
from toolrm_jax.train.config import TrainConfig
from toolrm_jax.train.metrics import MetricLog
from toolrm_jax.train.optimizer import make_optimizer, schedule
from toolrm_jax.train.signals import stop_requests
from toolrm_jax.train.step import TrainState, make_eval_step, make_train_step, split


class NotFinite(ToolrmError):
    """The loss or a gradient became infinite or not a number."""


def train(
    config: TrainConfig, model: RewardModel, groups: Sequence[TokenGroup], held_out: Sequence[TokenGroup]
) -> bool:
    """Train `model` on `groups`, with checkpoints and metrics under `config.output`. True if it came to its end.

    Goes on from the newest checkpoint of that folder. False: a signal asked to stop, and the state was saved.
    """
    folder = Path(config.output)
    data = config.data
    source = RowSource(groups, data.row_length, data.slots, data.rows, data.epochs, config.seed)
    steps = len(source) // data.rows
    if config.steps is not None:
        if config.steps > steps:
            raise DataError(f"steps={config.steps}, but {data.epochs} epoch(s) give only {steps}; raise data.epochs")
        steps = config.steps
    iterator = iter(batches(source, data.rows))

    mesh = data_mesh(data.rows)
    graph, *values = split(model)
    params, frozen = replicate(mesh, values)
    optimizer = make_optimizer(config.optimizer, steps)
    state = replicate(mesh, TrainState(params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32)))
    dtype = jnp.dtype(config.model.compute_dtype)
    step_fn = make_train_step(graph, optimizer, config.loss, dtype, config.model.remat)
    evaluate = held_out_evaluation(config, mesh, graph, dtype, held_out)
    resolved = chz.asdict(config)

    checkpoints = Checkpoints(folder / "checkpoints", config.keep)
    start = checkpoints.latest() or 0
    if start:
        state, frozen, position = checkpoints.restore(start, state, frozen)
        iterator.set_state(position)

    def save(done: int) -> None:
        if checkpoints.latest() != done:
            checkpoints.save(state, frozen, iterator.get_state(), resolved)

    with MetricLog(folder, start, steps) as log, stop_requests() as stop:
        if start:
            log.say(f"going on from step {start}")
        for reason, count in source.dropped.items():
            log.say(f"{count} of {len(groups)} groups left out: {reason}")
        recorder = StepRecorder(log, schedule(config.optimizer, steps), source, data.rows)
        for done in range(start, steps):
            if done % config.evaluate_every == 0:
                recorder.flush()
                log.write("held_out", done, evaluate(state, frozen))
                recorder.restart_clock()
            rows = next(iterator)
            state, metrics = step_fn(state, frozen, spread(mesh, rows))
            # The numbers of the step before are fetched now, while this one runs.
            recorder.flush()
            recorder.record(done + 1, rows, metrics)
            if stop.asked or (done + 1) % config.save_every == 0:
                recorder.flush()
                save(done + 1)
                recorder.restart_clock()
            if stop.asked:
                log.say(f"stopped at step {done + 1} of {steps}; the same command goes on from here")
                break
        recorder.flush()
        finished = int(state.step) >= steps
        if finished:
            if start < steps:
                log.write("held_out", steps, evaluate(state, frozen))
            save(steps)
        checkpoints.close()
    if finished:
        nnx.update(model, state.params, frozen)
    return finished


class StepRecorder:
    """Holds the numbers of the newest step until they are fetched, one step later."""

    def __init__(self, log: MetricLog, rates: Callable[[int], Any], source: RowSource, rows: int) -> None:
        self.log, self.rates, self.source, self.rows = log, rates, source, rows
        self.waiting: tuple[int, Rows, dict[str, Any]] | None = None
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the next step's speed."""
        self.clock = time.perf_counter()

    def record(self, step: int, rows: Rows, metrics: dict[str, Any]) -> None:
        """Take a dispatched step's numbers, still being computed."""
        self.waiting = step, rows, metrics

    def flush(self) -> None:
        """Write the waiting numbers, if any. Raises NotFinite, with the ids of the step's groups."""
        if self.waiting is None:
            return
        (step, rows, metrics), self.waiting = self.waiting, None
        loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            ids = self.source.ids(range((step - 1) * self.rows, step * self.rows))
            raise NotFinite(
                f"step {step}: loss {loss}, gradient norm {norm} on groups {', '.join(ids[:8])}"
                f"{' …' if len(ids) > 8 else ''}; the last checkpoint is kept: lower optimizer.learning_rate"
            )
        now = time.perf_counter()
        tokens = int((rows.group > 0).sum())
        speed = tokens / (now - self.clock)
        self.clock = now
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": float(self.rates(step - 1))}
        groups = int(rows.slot_group.max(axis=1).sum())
        values |= metrics["sums"].means() | {"groups": groups, "tokens": tokens, "tokens_per_second": speed}
        self.log.write("train", step, values)
        shown = {"loss": f"{loss:.3f}", "acc": f"{values.get('correct', math.nan):.2f}", "tok/s": f"{speed:.0f}"}
        self.log.advance(step, shown)


def held_out_evaluation(
    config: TrainConfig, mesh: Mesh, graph: Any, dtype: jnp.dtype, held_out: Sequence[TokenGroup]
) -> Callable[[TrainState, Any], dict[str, float]]:
    """A function of the state that gives loss and accuracy on the first held-out groups."""
    data = config.data
    source = RowSource(held_out[: data.held_out_groups], data.row_length, data.slots, data.rows, 1, 0)
    step = make_eval_step(graph, config.loss, dtype)

    def evaluate(state: TrainState, frozen: Any) -> dict[str, float]:
        sums = [step(state.params, frozen, spread(mesh, rows)) for rows in batches(source, data.rows)]
        return jax.tree.map(lambda *parts: sum(parts), *sums).means()

    return evaluate
