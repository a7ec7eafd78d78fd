"""Compile a run's step for a TPU slice without having one: memory, communication, and a speed estimate.

The step is the one that `toolrm train` runs (or, with step=score, the one that scores held-out rows), compiled by the
TPU's own compiler, libtpu (`pip install 'toolrm_jax[plan]'`). Without it the step is compiled for as many CPU devices,
which shows the same communication but no memory. Exit code 1: it does not fit.

    toolrm plan model=Qwen3-8B topology=v6e:4x4 train.data.rows=16
    toolrm plan config=qwen3_0p6b topology=v5e:2x2
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Literal

import chz

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig

if TYPE_CHECKING:
    from toolrm_jax.models.config import TrunkConfig
    from toolrm_jax.parallel.estimate import Estimate, Group
    from toolrm_jax.parallel.topology import Topology

BASE = None
# What was trained on, by which a published model is named beside its shape: Qwen3-4B-Thinking-2507.
VARIANT = re.compile(r"-(Instruct|Thinking|Base|Coder)(-\d{4})?(?=-|$)")
DOES_NOT_FIT = 1
GIB = 2**30
# The share of a layer's forward pass that each policy runs again; `attention` and `dots` keep the costly parts.
RECOMPUTED = {"none": 0.0, "dots": 0.0, "dots_no_batch": 0.15, "attention": 0.85, "full": 1.0, "offload": 0.15}


def any_run() -> TrainConfig:
    """The settings of a run of which only the model is known."""
    return TrainConfig(
        output="", model=ModelConfig(path="", remat="full"), data=DataConfig(train="", held_out="", row_length=4096)
    )


@chz.chz
class Config:
    """What is compiled, and for which chips."""

    topology: str = ""  # kind and shape of a slice, such as v5e:2x4, v6e:8x8, v5p:2x2x4, tpu7x:2x2x1
    num_slices: int = 1  # equal slices joined by the data-centre network
    step: Literal["train", "score"] = "train"
    model: str = ""  # a preset such as Qwen3-8B, a hub id of one, or a folder with config.json; empty: the config's
    context: int = 1024  # tokens of a context, to count the work of a token and of a pair
    response: int = 64  # tokens of an answer, likewise
    train: TrainConfig = chz.field(default_factory=any_run)

    @classmethod
    def of_experiment(cls, found: Any) -> Config | None:
        """The plan of a run's config, or of a whole experiment's; None for anything else."""
        if isinstance(found, TrainConfig):
            return cls(train=found)
        if isinstance(getattr(found, "train", None), TrainConfig):
            return cls(train=found.train, model=found.train.model.path or found.model)
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A compiled step: `answer` is that of `plan_process`."""

    topology: Topology
    shape: TrunkConfig
    answer: dict[str, Any]
    estimate: Estimate

    @property
    def fits(self) -> bool | None:
        """None where it was compiled for CPU devices."""
        memory = self.answer["memory"]
        return None if memory is None else memory["fits"]


def run(config: Config, overwrite: bool = False) -> int:
    """Compile and print; 1 where it does not fit."""
    made = plan(config)
    print("\n".join(lines(config, made)))
    return DOES_NOT_FIT if made.fits is False else 0


def plan(config: Config) -> Plan:
    """Compile the step of a config. Raises ConfigError for settings that cannot be."""
    from toolrm_jax.commands.plan_process import compiled
    from toolrm_jax.parallel.topology import has_libtpu, parse

    if not config.topology:
        raise ConfigError("plan: topology is not given; name a slice, such as topology=v6e:8x8")
    where = parse(config.topology, config.num_slices)
    shape = shape_of(config.model or config.train.model.path, config.train.model.layers)
    train = config.train
    job = {
        "kind": where.kind,
        "shape": where.shape,
        "slices": where.slices,
        "tpu": has_libtpu(),
        "step": config.step,
        "train": settings.as_json(train),
        "model": dataclasses.asdict(shape),
    }
    answer = compiled(job)
    return Plan(where, shape, answer, estimated(config, where, shape, *sent(where, answer)))


def sent(where: Topology, answer: dict[str, Any]) -> tuple[int, int | None]:
    """Bytes that a device sends in a step within its slice, and to others; libtpu alone tells the two apart."""
    from toolrm_jax.parallel.hlo import BETWEEN

    rows = [(kind, size) for kind, *_, size in answer["collectives"]]
    # To sum over devices and have the sum everywhere takes a scatter and a gather.
    within = sum(size * (1 + (kind == "all-reduce")) for kind, size in rows if kind != BETWEEN)
    known = answer["memory"] is not None or where.slices == 1
    return within, sum(size for kind, size in rows if kind == BETWEEN) if known else None


def estimated(config: Config, where: Topology, shape: TrunkConfig, within: int, between: int | None) -> Estimate:
    """The roofline of a step that sends so many bytes within a slice and between slices (None: not known)."""
    from toolrm_jax.models.lora import adapter_count
    from toolrm_jax.parallel.estimate import estimate

    train, group = config.train, filled(config)
    loss = train.loss_weights
    return estimate(
        shape,
        group,
        where,
        rows(config) * train.data.row_length,
        within,
        between,
        train=config.step == "train",
        frozen_layers=train.model.frozen_layers,
        adapters=adapter_count(shape, train.model.frozen_layers, train.model.lora),
        predicted=group.right * bool(loss.next_token) + group.of_context * bool(loss.next_token_context),
        recomputed=RECOMPUTED[train.model.remat],
    )


def filled(config: Config) -> Group:
    """What rows are filled with: pairs, or for a policy each task's right answer alone."""
    from toolrm_jax.parallel.estimate import Group

    return Group(config.context, config.response, 2 if config.train.task == "reward" else 1)


def rows(config: Config) -> int:
    """Rows of the step: held-out rows are judged as many at a time as a part of a training step has."""
    return config.train.data.rows if config.step == "train" else config.train.part_rows


def shape_of(model: str, layers: int | None = None) -> TrunkConfig:
    """The shape of a preset, of a hub id whose name is a variant of one, or of a model's folder. Raises ModelError."""
    from pathlib import Path

    from toolrm_jax.models.config import TrunkConfig, read_config
    from toolrm_jax.models.folder import shortened
    from toolrm_jax.models.presets import preset

    if not model:
        raise ConfigError("plan: model is not given; name a preset, such as model=Qwen3-8B, or a folder")
    folder = Path(model).expanduser()
    if folder.is_dir():
        raw = shortened(read_config(folder), layers, model)
        return TrunkConfig.from_huggingface(raw, str(folder / "config.json"))
    shape = preset(VARIANT.sub("", model.rpartition("/")[2]))
    if layers is None:
        return shape
    if not 1 <= layers <= shape.num_hidden_layers:
        raise ConfigError(f"train.model.layers={layers}: {model} has {shape.num_hidden_layers}; lower it")
    return dataclasses.replace(shape, num_hidden_layers=layers)


def lines(config: Config, made: Plan) -> list[str]:
    """The plan as text."""
    where, answer, work = made.topology, made.answer, made.estimate
    train, chip = config.train, made.topology.chip
    mesh = ", ".join(f"{axis} {size}" for axis, size in answer["mesh"].items() if size > 1) or "one device"
    slices = f"{where.slices} slices of " if where.slices > 1 else ""
    kernels = ", ".join(answer["kernels"])
    parts = f" in {train.accumulate} parts" if config.step == "train" and train.accumulate > 1 else ""
    out = [
        f"{config.model or train.model.path}: {config.step} step, {rows(config)} rows of {train.data.row_length} "
        f"tokens{parts}, {train.model.compute_dtype}, remat {train.model.remat}",
        f"{slices}{where.name}: {where.chips} chips; mesh: {mesh}; "
        f"compiled in {answer['seconds']:.0f} s ({answer['cpu_seconds']:.0f} s of CPU)",
        f"attention: {kernels or ('not known, since it does not fit' if made.fits is False else 'plain XLA')}",
        "",
        *_memory(answer["memory"], chip.hbm, chip.devices),
        "",
        "bytes that a device sends or gets in a step",
    ]
    for kind, dtype, place, count, size in answer["collectives"]:
        out.append(f"  {kind:<20} {dtype:<5} {place:<18} {count:>6} x  {size / GIB:9.3f} GiB")
    if answer["gathered_outside"]:
        out.append("  weights gathered outside the layer loop:")
        out += [
            f"    {name}, {count} x {size / GIB:.3f} GiB by {operation or 'an operation without a name'}"
            for name, count, size, operation in answer["gathered_outside"]
        ]
    elif answer["collectives"]:
        out.append("  no weight is gathered outside the layer loop")
    else:
        out.append("  not known, since it does not fit" if made.fits is False else "  nothing")
    pairs = train.task == "reward"
    group = "a pair" if pairs else "a task"
    out += [
        "",
        f"work: {work.flops_per_token / 1e9:.2f} GFLOPs a token, {work.flops_per_group / 1e12:.2f} TFLOPs {group} "
        f"(context {config.context}, {'answers' if pairs else 'answer'} of {config.response})",
    ]
    if made.fits is not False:
        network = "not known" if work.network is None else f"{work.network:.2f}"
        between = f", between slices {network}" if where.slices > 1 else ""
        out.append(
            f"estimate from published peaks, not measured: at least {work.seconds:.2f} s a step "
            f"(computing {work.compute:.2f}, sending within a slice {work.links:.2f}{between}), "
            f"at most {work.tokens_per_second:,.0f} tokens/s"
        )
    if made.fits is not None:
        out += ["", "fits" if made.fits else "does not fit: fewer rows, another remat policy, or a larger slice"]
    return out


def _memory(memory: dict[str, Any] | None, limit: float, devices: int) -> list[str]:
    """Per chip, which may be several devices."""
    if memory is None:
        return ["memory: not known, since libtpu is not installed (extra `plan`); compiled for CPU devices"]
    known = "" if memory["total"] is not None else " (the compiler did not say how much it would need)"
    rows = [(name, memory[name]) for name in ("parameters", "optimizer", "activations", "total")]
    return [f"memory of a chip{known}"] + [
        f"  {name:<12} {size * devices / GIB:8.2f} GiB" for name, size in [*rows, ("limit", limit)] if size is not None
    ]
