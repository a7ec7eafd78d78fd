"""The real step of a run compiled for devices that need not be there, and what the compiler says of it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from toolrm_jax.data.rows import Rows
from toolrm_jax.models.attention_backend import choose_backend
from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.parallel.hlo import Collective, collectives
from toolrm_jax.parallel.rules import Placed
from toolrm_jax.train.abstract import AbstractRun, state_bytes
from toolrm_jax.train.config import TrainConfig, run_mesh
from toolrm_jax.train.step import make_eval_step, make_train_step

Step = Literal["train", "score"]

_TOTAL = re.compile(r"(?:Used|total memory required for HLO temporaries \(|Total hbm usage >= )\s*([\d.]+)([KMGTP]?)")
# A Pallas kernel in TPU code: a custom call that bears the kernel's name.
_KERNEL = re.compile(r'%([A-Za-z_]\w*?)[.\d]* = [^\n]*custom_call_target="tpu_custom_call"')
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device. `total` is None where the compiler said only that it does not fit, not by how much."""

    parameters: int
    optimizer: int
    activations: int | None
    total: int | None
    fits: bool


@dataclass(frozen=True, slots=True)
class Compiled:
    """What is known of a compiled step. Where memory did not suffice, `collectives`, `kernels` and `hlo` are empty."""

    mesh: dict[str, int]
    memory: Memory
    collectives: tuple[Collective, ...]
    kernels: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    hlo: str


def compile_step(
    config: TrainConfig, shape: TrunkConfig, devices: Sequence[Any], step: Step = "train", stand_for: int = 0
) -> Compiled:
    """Compile a run's train step, or the step that scores its held-out rows, for `devices`, allocating nothing.

    stand_for: CPU devices that stand for accelerators of so many slices; 0: the devices are what they are.
    Raises ConfigError for what the run itself would refuse.
    """
    mesh = run_mesh(config, devices, stand_for=stand_for)
    run = AbstractRun.of(config, shape)
    layout, state, frozen = run.on(mesh)
    dtype = jnp.dtype(config.model.compute_dtype)
    backend = choose_backend(config.model.attention, mesh.devices.flat[0].platform)
    # Right answers are well under half of a row; a run counts them.
    weights, predicted = config.loss_weights, config.data.row_length // 2
    parameters, held = state_bytes(state, frozen)
    start = time.perf_counter(), time.process_time()
    if step == "train":
        rows = abstract_rows(mesh, config.data.rows, config.data.row_length, config.data.slots)
        jitted = make_train_step(
            run.graph, run.optimizer, weights, dtype, config.model.remat, layout, backend, config.accumulate, predicted
        )
        lowered = jitted.lower(state, frozen, rows)
    else:
        rows = abstract_rows(mesh, config.part_rows, config.data.row_length, config.data.slots)
        jitted = make_eval_step(run.graph, weights, dtype, layout, backend, predicted)
        lowered = jitted.lower(state.params, frozen, rows)
        held = 0
    sizes = dict(mesh.shape)
    try:
        compiled, hlo = _compiled(lowered)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        total = _total(str(error))
        activations = None if total is None else total - parameters - held
        memory = Memory(parameters, held, activations, total, fits=False)
        return Compiled(sizes, memory, (), (), *_since(start), "")
    took = _since(start)
    figures = compiled.memory_analysis()
    arguments = figures.argument_size_in_bytes + figures.output_size_in_bytes - figures.alias_size_in_bytes
    total = arguments + figures.temp_size_in_bytes + figures.generated_code_size_in_bytes
    memory = Memory(parameters, held, total - parameters - held, total, fits=True)
    kernels = tuple(sorted(set(_KERNEL.findall(hlo))))
    return Compiled(sizes, memory, tuple(collectives(hlo)), kernels, *took, hlo)


def abstract_rows(mesh: Mesh, rows: int, length: int, slots: int) -> Rows:
    """The shapes of a step's rows, laid out as `spread` does."""
    sharding = Placed(mesh).sharding("rows")
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=sharding)
    of_slots = jax.ShapeDtypeStruct((rows, slots), jnp.int32, sharding=sharding)
    return Rows(
        tokens=tokens,
        positions=tokens,
        group=tokens,
        response=tokens,
        previous=tokens,
        still_right=jax.ShapeDtypeStruct((rows, length), jnp.int8, sharding=sharding),
        score_at=of_slots,
        slot_group=of_slots,
        slot_right=jax.ShapeDtypeStruct((rows, slots), jnp.bool_, sharding=sharding),
        slot_score=jax.ShapeDtypeStruct((rows, slots), jnp.float32, sharding=sharding),
        pairs=jax.ShapeDtypeStruct((rows, slots, slots), jnp.bool_, sharding=sharding),
    )


def _compiled(lowered: Any) -> tuple[Any, str]:
    """The executable and its HLO, as the compiler itself writes it to a file.

    jaxlib 0.10.2 cannot parse all HLO of libtpu 0.0.51 (an async-update of several operands: v6e, several slices), so
    `as_text` fails for some.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_long_text": True})
        # The compiler makes small programs of its own beside it.
        files = sorted(Path(folder).glob("*after_optimizations.txt"), key=lambda file: file.stat().st_size)
        return compiled, files[-1].read_text()


def _since(start: tuple[float, float]) -> tuple[float, float]:
    return time.perf_counter() - start[0], time.process_time() - start[1]


def _total(message: str) -> int | None:
    """Bytes that the compiler says the program would need, arguments and results included."""
    found = _TOTAL.search(message)
    return int(float(found[1]) * _UNITS[found[2]]) if found else None
