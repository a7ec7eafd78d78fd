"""The training loop: restore, then take a batch, step, record, evaluate and save until done or asked to stop.

A step's place in the run is one number, whatever the number of processes. What a checkpoint of step t stands for is
on disk before it: the records up to t. So a run that is killed at any moment and started again ends as one that was
not, bit for bit (tests/train/test_survival.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import chz
import jax
import jax.numpy as jnp
from flax import nnx

from toolrm_jax.data.dataset import batches
from toolrm_jax.data.rows import Rows
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError, ModelError
from toolrm_jax.models.attention_backend import Backend, choose_backend, self_check
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.lora import adapter_values
from toolrm_jax.models.placement import placed
from toolrm_jax.parallel import hosts
from toolrm_jax.parallel.host_memory import give_back_freed_memory
from toolrm_jax.parallel.mesh import rows_of_process, spread
from toolrm_jax.train.checkpoints import Checkpoints
from toolrm_jax.train.config import TrainConfig, run_mesh
from toolrm_jax.train.head_fit import make_fit
from toolrm_jax.train.held_out import held_out_evaluation, held_out_rows
from toolrm_jax.train.layout import Layout, TrainState
from toolrm_jax.train.memory import SMALLER_STEP, must_fit
from toolrm_jax.train.metrics import MetricLog, start_wandb
from toolrm_jax.train.optimizer import judged_weights, make_optimizer, schedule
from toolrm_jax.train.profiling import Profile
from toolrm_jax.train.recorder import NotFinite, StepRecorder, more_gently
from toolrm_jax.train.run_folder import CHECKPOINTS
from toolrm_jax.train.run_rows import check_tokens, row_source
from toolrm_jax.train.signals import stop_requests
from toolrm_jax.train.startup import Startup
from toolrm_jax.train.step import make_train_step, split
from toolrm_jax.train.votes import Vote, Votes
from toolrm_jax.train.watch import Watch

StepFunction = Callable[[TrainState, nnx.State, Rows], tuple[TrainState, dict[str, Any]]]


def train(
    config: TrainConfig,
    model: RewardModel,
    groups: Sequence[TokenGroup],
    held_out: Sequence[TokenGroup],
    startup: Startup | None = None,
    overwrite: bool = False,
) -> bool:
    """Train `model` on `groups`, with checkpoints and metrics under `config.output`. True if it came to its end.

    Goes on from the newest checkpoint of that folder; with `overwrite` begins anew where all of them are damaged.
    False: a signal asked to stop, and the state was saved.
    """
    try:
        with must_fit("the run", SMALLER_STEP), stop_requests() as stop, ExitStack() as stack:
            run = _Run(config, model, groups, held_out, startup or Startup(), stack, overwrite)
            return run.to_its_end(lambda: stop.asked)
    except NotFinite as error:
        raise NotFinite(f"{error}; {more_gently(Path(config.output))}") from None


class _Run:
    """One process's part of a run: everything that is made once, and the loop over it."""

    def __init__(
        self,
        config: TrainConfig,
        model: RewardModel,
        groups: Sequence[TokenGroup],
        held_out: Sequence[TokenGroup],
        startup: Startup,
        stack: ExitStack,
        overwrite: bool,
    ) -> None:
        self.config, self.model, self.startup = config, model, startup
        folder, data = Path(config.output), config.data
        self.mesh = run_mesh(config)
        self.source = row_source(config, groups)
        for each in (groups, held_out):
            check_tokens(each, model.config.vocab_size)
        self.steps = config.steps or len(self.source) // data.rows
        self.mine = rows_of_process(self.mesh, data.rows)
        self.iterator = iter(batches(self.source, data.rows, self.mine))

        graph, params, frozen = split(model, config.task)
        optimizer = make_optimizer(config.optimizer, self.steps)
        layout = Layout.of(self.mesh, model.config, model.trunk.frozen_layers, params, frozen, optimizer)
        dtype = jnp.dtype(config.model.compute_dtype)
        backend = choose_backend(config.model.attention)
        self.step_function: StepFunction = make_train_step(
            graph,
            optimizer,
            config.loss_weights,
            dtype,
            config.model.remat,
            layout,
            backend,
            config.accumulate,
            self.source.most_right_tokens,
        )
        aside = held_out_rows(config, held_out)
        self.evaluate = held_out_evaluation(config, layout, graph, dtype, backend, aside)
        self.resolved = chz.asdict(config)
        self.votes = Votes(self.mesh)
        self.profile = Profile(config.profile, folder, self.steps)
        self.watch = stack.enter_context(Watch(config.stall_after))

        said: list[str] = []
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep, config.keep_every, config.keep_best)
        stack.callback(self.checkpoints.close)

        def read(step: int) -> tuple[TrainState, nnx.State, dict[str, Any]]:
            return self.checkpoints.restore(step, *layout.abstract(params, frozen, optimizer))

        with startup.part("restoring"):
            found = self.checkpoints.newest(read, said.append, set_aside=True, anew=overwrite)
        # Whether the held-out groups were judged at the first step of this start.
        self.start, self.judged = 0, False
        if found is not None:
            self.state, self.frozen, position = found
            # The weights that the model came with are let go of.
            nnx.update(model, self.state.params, self.frozen)
            self.start, self.judged = int(jax.device_get(self.state.step)), position["judged"]
            self.iterator.set_state(position["rows"])
            said.append(f"going on from step {self.start}")
        else:
            with startup.part("placing weights"):
                params, frozen = layout.on_mesh(params, frozen)
            if config.head_fit.steps:
                with startup.part("fitting the head"):
                    fit = make_fit(graph, config.head_fit, dtype, layout, backend)
                    first = islice(batches(self.source, data.rows, self.mine), config.head_fit.steps)
                    params = fit(params, frozen, (spread(self.mesh, rows) for rows in first))
            self.state, self.frozen = layout.first_state(params, frozen, optimizer)
        said += self.profile.missed(self.start)

        # Every process keeps its own record; the first one's is the run's.
        record = folder if hosts.is_first() else folder / "hosts" / str(jax.process_index())
        asked = config.wandb if hosts.is_first() else None
        wandb = start_wandb(asked, folder, self.resolved, self.start) if asked else None
        self.log = stack.enter_context(MetricLog(record, self.start, self.steps, wandb, judged=self.judged))
        stack.callback(lambda: self._say(self.profile.stop()))
        # All at once: to ask the schedule at each step would send the devices a computation of its own.
        rates = jax.device_get(jax.jit(jax.vmap(schedule(config.optimizer, self.steps)))(jnp.arange(self.steps)))
        devices = list(self.mesh.devices.flat)
        self.recorder = StepRecorder(
            self.log,
            rates,
            self.source,
            data.rows,
            model.config,
            model.trunk.frozen_layers,
            adapter_values(self.state.params),
            devices,
        )
        with startup.part("attention self-check"):
            said.append(checked(backend, model.config, layout, dtype))
        for side, rows in (("groups", self.source), ("held-out groups", aside)):
            said += [f"{count} of {len(rows.groups)} {side} left out: {why}" for why, count in rows.dropped.items()]
        for line in said:
            self.log.say(line)

    def to_its_end(self, asked_to_stop: Callable[[], bool]) -> bool:
        """Run the steps that are left. False: stopped by a signal."""
        if not self.judged:
            with self.startup.part("judging held-out groups"):
                self._judge(self.start)
        if self.start < self.steps:
            with self.startup.part("compiling"), self.watch.at("the compiler", self.start + 1):
                self._compile()
            give_back_freed_memory()
            self.recorder.restart_clock()
        for step in range(self.start + 1, self.steps + 1):
            vote = self._step(step, asked_to_stop)
            if step == self.start + 1:
                self.recorder.flush()
                self.log.say(self.startup.line())
            self._say(self.profile.after(step, self.state.step))
            stopping = vote is Vote.STOP and step < self.steps
            # Who stops may have seconds left: then the state is saved first, and judged when the run goes on.
            measured = self._judge(step) if self._due(step) and not stopping else None
            if stopping or step == self.steps or step % self.config.save_every == 0:
                self._save(step, measured)
            if stopping:
                self.log.say(f"stopped at step {step} of {self.steps}; the same command goes on from here")
                self.checkpoints.wait()
                return False
        with self.watch.at("the checkpoint to be written", self.steps):
            self.checkpoints.wait()
        nnx.update(self.model, judged_weights(self.state.params, self.state.optimizer), self.frozen)
        return True

    def _say(self, line: str | None) -> None:
        if line is not None:
            self.log.say(line)

    def _step(self, step: int, asked_to_stop: Callable[[], bool]) -> Vote:
        """Dispatch a step, and meanwhile write down the one before; gives what all processes voted."""
        batch, waited, fault = self._take(step)
        self.profile.before(step)
        cast = self.votes.cast(Vote.NO_DATA if fault else Vote.STOP if asked_to_stop() else Vote.GO_ON)
        rows = spread(self.mesh, batch)
        with guarded():
            self.state, metrics = self.step_function(self.state, self.frozen, rows)
        with self.watch.at("the devices, and with them the other processes", step):
            self.recorder.flush()
            agreed = self.votes.agreed(cast)
        if agreed is Vote.NO_DATA:
            raise DataError(
                f"step {step}: {fault or 'another process could not read its rows; see there'}; nothing of this step "
                f"is kept, and the same command goes on from the last checkpoint"
            )
        self.recorder.record(step, metrics, waited)
        # Alone, there is no need to wait for the next step's vote.
        return Vote.STOP if self.votes.alone and asked_to_stop() else agreed

    def _take(self, step: int) -> tuple[Rows, float, str | None]:
        """This process's rows of a step, the seconds they took, and what is wrong; then the rows are empty ones.

        The other processes are in the step already, so this one takes part in it and says so by its vote.
        """
        clock = Startup()
        with self.watch.at("the data loader", step), clock.part("rows"):
            try:
                batch, fault = next(self.iterator), None
            except StopIteration:
                batch, fault = None, "the data loader ran dry before the last step"
            except Exception as error:
                batch, fault = None, f"the data loader failed ({type(error).__name__}: {error})"
        return batch or self.source.empty(len(self.mine)), clock.parts["rows"], fault

    def _compile(self) -> None:
        """Compile the step for its rows. Raises ModelError where the devices cannot hold it."""
        rows = spread(self.mesh, self.source.empty(len(self.mine)))
        compiled = self.step_function.lower(self.state, self.frozen, rows).compile()  # type: ignore[attr-defined]
        # A device of another process does not tell.
        need, have = compiled.memory_analysis(), self.mesh.local_devices[0].memory_stats() or {}
        if need is not None and "bytes_limit" in have:
            total = (need.argument_size_in_bytes + need.temp_size_in_bytes) / GIB
            limit = have["bytes_limit"] / GIB
            if total > limit:
                raise ModelError(f"a step needs {total:.1f} GiB of each device, which has {limit:.1f}; {SMALLER_STEP}")
        self.step_function = compiled

    def _due(self, step: int) -> bool:
        """Whether the held-out groups are judged after `step`; if the best is kept, then for each checkpoint."""
        config = self.config
        at_save = config.keep_best is not None and step % config.save_every == 0
        return step in (0, self.steps) or step % config.evaluate_every == 0 or at_save

    def _judge(self, step: int) -> dict[str, float]:
        """Judge the held-out groups with the state after `step`, and write it down."""
        with self.watch.at("the held-out groups to be judged", step):
            self.recorder.flush()
            measured = self.evaluate(self.state, self.frozen)
        self.log.write("held_out", step, measured)
        self.recorder.restart_clock()
        return measured

    def _save(self, step: int, measured: dict[str, float] | None) -> None:
        """Start saving the state after `step`, whose numbers are finite and on disk by then."""
        give_back_freed_memory()
        self.recorder.flush()
        self.log.sync()
        position = {"rows": self.iterator.get_state(), "judged": measured is not None or not self._due(step)}
        metrics = {name: value for name, value in (measured or {}).items() if math.isfinite(value)} or None
        with self.watch.at("the checkpoint before to be written", step):
            self.checkpoints.save(self.state, self.frozen, position, self.resolved, metrics)
        self.recorder.restart_clock()


GIB = 2**30


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, no value moves between host and devices unless the code says so."""
    with jax.transfer_guard("disallow"):
        yield


def checked(backend: Backend, shape: TrunkConfig, layout: Layout, dtype: jnp.dtype) -> str:
    """The line of the attention backend's self-check, on the run's mesh. Raises ModelError where it fails."""
    with placed(layout.placed):
        return self_check(backend, shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim, dtype)
