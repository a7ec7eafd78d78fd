"""The training loop: restore, then evaluate, take a batch, step, record and save until done or asked to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import chz
import jax
import jax.numpy as jnp
from flax import nnx

from toolrm_jax.data.dataset import RowSource, batches
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError, ToolrmError
from toolrm_jax.models.attention_backend import Backend, choose_backend, self_check
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel import hosts
from toolrm_jax.parallel.mesh import make_mesh, rows_of_process, spread
from toolrm_jax.seeding import seeded
from toolrm_jax.train.checkpoints import Checkpoints
from toolrm_jax.train.config import TrainConfig
from toolrm_jax.train.head_fit import make_fit
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.metrics import MetricLog
from toolrm_jax.train.optimizer import make_optimizer, schedule
from toolrm_jax.train.signals import stop_requests
from toolrm_jax.train.step import make_eval_step, make_train_step, split


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
    mesh = make_mesh(config.mesh, data.rows)
    iterator = iter(batches(source, data.rows, rows_of_process(mesh, data.rows)))

    graph, *values = split(model)
    optimizer = make_optimizer(config.optimizer, steps)
    layout = Layout.of(mesh, model.config, model.trunk.frozen_layers, *values, optimizer)
    state, frozen = layout.first_state(*values, optimizer)
    dtype = jnp.dtype(config.model.compute_dtype)
    backend = choose_backend(config.model.attention)
    step_fn = make_train_step(graph, optimizer, config.loss, dtype, config.model.remat, layout, backend)
    evaluate = held_out_evaluation(config, layout, graph, dtype, backend, held_out)
    resolved = chz.asdict(config)

    checkpoints = Checkpoints(folder / "checkpoints", config.keep)
    start = checkpoints.latest() or 0
    if start:
        state, frozen, position = checkpoints.restore(start, state, frozen)
        iterator.set_state(position)
    elif config.head_fit.steps:
        fit = make_fit(graph, config.head_fit, dtype, layout, backend)
        first = islice(batches(source, data.rows, rows_of_process(mesh, data.rows)), config.head_fit.steps)
        state = state.replace(params=fit(state.params, frozen, (spread(mesh, rows) for rows in first)))

    def save(done: int) -> None:
        if checkpoints.latest() != done:
            checkpoints.save(state, frozen, iterator.get_state(), resolved)

    # Every process keeps its own record; the first one's is the run's.
    record = folder if hosts.is_first() else folder / "hosts" / str(jax.process_index())
    with MetricLog(record, start, steps) as log, stop_requests() as stop:
        if start:
            log.say(f"going on from step {start}")
        log.say(checked(backend, model.config, layout, dtype))
        for reason, count in source.dropped.items():
            log.say(f"{count} of {len(groups)} groups left out: {reason}")
        recorder = StepRecorder(log, schedule(config.optimizer, steps), source, data.rows)
        for done in range(start, steps):
            if done % config.evaluate_every == 0:
                recorder.flush()
                log.write("held_out", done, evaluate(state, frozen))
                recorder.restart_clock()
            state, metrics = step_fn(state, frozen, spread(mesh, next(iterator)))
            # The numbers of the step before are fetched now, while this one runs.
            recorder.flush()
            recorder.record(done + 1, metrics)
            stopping = hosts.any_process(stop.asked)
            if stopping or (done + 1) % config.save_every == 0:
                recorder.flush()
                save(done + 1)
                recorder.restart_clock()
            if stopping:
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
        self.waiting: tuple[int, dict[str, Any]] | None = None
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the next step's speed."""
        self.clock = time.perf_counter()

    def record(self, step: int, metrics: dict[str, Any]) -> None:
        """Take a dispatched step's numbers, still being computed."""
        self.waiting = step, metrics

    def flush(self) -> None:
        """Write the waiting numbers, if any. Raises NotFinite, with the ids of the step's groups."""
        if self.waiting is None:
            return
        (step, metrics), self.waiting = self.waiting, None
        loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            ids = self.source.ids(range((step - 1) * self.rows, step * self.rows))
            raise NotFinite(
                f"step {step}: loss {loss}, gradient norm {norm} on groups {', '.join(ids[:8])}"
                f"{' …' if len(ids) > 8 else ''}; the last checkpoint is kept: lower optimizer.learning_rate"
            )
        now = time.perf_counter()
        tokens, groups = int(metrics["tokens"]), int(metrics["groups"])
        speed = tokens / (now - self.clock)
        self.clock = now
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": float(self.rates(step - 1))}
        values |= metrics["sums"].means() | {"groups": groups, "tokens": tokens, "tokens_per_second": speed}
        self.log.write("train", step, values)
        shown = {"loss": f"{loss:.3f}", "acc": f"{values.get('correct', math.nan):.2f}", "tok/s": f"{speed:.0f}"}
        self.log.advance(step, shown)


def checked(backend: Backend, shape: TrunkConfig, layout: Layout, dtype: jnp.dtype) -> str:
    """The line of the attention backend's self-check, on the run's mesh. Raises ModelError where it fails."""
    with placed(layout.placed):
        return self_check(backend, shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim, dtype)


def held_out_evaluation(
    config: TrainConfig,
    layout: Layout,
    graph: Any,
    dtype: jnp.dtype,
    backend: Backend,
    held_out: Sequence[TokenGroup],
) -> Callable[[TrainState, Any], dict[str, float]]:
    """A function of the state that gives loss and accuracy on a sample of the held-out groups, the same in every run.

    A sample, since groups stand in the order of their tasks' ids: the first ones are all of one category.
    """
    data = config.data
    drawn = sorted(held_out, key=lambda group: seeded(0, "held out during training", group.id).random())
    source = RowSource(drawn[: data.held_out_groups], data.row_length, data.slots, data.rows, 1, 0)
    step = make_eval_step(graph, config.loss, dtype, layout, backend)
    mine = rows_of_process(layout.mesh, data.rows)

    def evaluate(state: TrainState, frozen: Any) -> dict[str, float]:
        sums = [step(state.params, frozen, spread(layout.mesh, rows)) for rows in batches(source, data.rows, mine)]
        return jax.tree.map(lambda *parts: sum(parts), *sums).means()

    return evaluate
