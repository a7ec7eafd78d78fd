"""Try mesh shapes, row counts and remat policies for a TPU slice, and print the fastest that fits.

All choices are ranked by a formula (work, bytes sent, and a floor of the memory needed), and the first of them are
compiled as `toolrm plan` does, until `tries` were. The best is the one with the most tokens/s by the estimate from
published peaks: it is no measurement. Without libtpu it is the fastest of those compiled, whose memory is not known.
Exit code 1: none of those tried fits.

    toolrm plan search model=Qwen3-8B topology=v6e:4x4
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import chz

from toolrm_jax.commands import plan as planning
from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.mesh import MeshConfig

if TYPE_CHECKING:
    from toolrm_jax.models.config import TrunkConfig
    from toolrm_jax.parallel.topology import Topology
    from toolrm_jax.train.floor import Floor

BASE = None
REMAT = ("none", "attention", "full")
ROWS_OF_A_DEVICE = (1, 2, 4, 8)


@chz.chz
class Config(planning.Config):
    """A plan, and how many of its variants are compiled. The mesh, rows and remat policy given are not used."""

    tries: int = 6  # compilations; each takes from half a minute to several

    @classmethod
    def of_experiment(cls, found: Any) -> Config | None:
        """As for a single plan."""
        base = planning.Config.of_experiment(found)
        return base and cls(train=base.train, model=base.model)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Sizes of the mesh, rows of a step, remat policy; with a floor of the bytes, and an estimate of tokens/s."""

    sizes: dict[str, int]
    rows: int
    remat: str
    floor: float = 0.0
    speed: float = 0.0

    def applied(self, config: Config) -> Config:
        """The config with this choice."""
        train = config.train
        return chz.replace(
            config,
            train=chz.replace(
                train,
                mesh=MeshConfig(**self.sizes),
                data=chz.replace(train.data, rows=self.rows),
                model=chz.replace(train.model, remat=self.remat),
            ),
        )

    def __str__(self) -> str:
        words = [f"mesh.{axis}={size}" for axis, size in self.sizes.items() if size > 1]
        words += [f"data.rows={self.rows}", f"model.remat={self.remat}"]
        return " ".join(f"train.{word}" for word in words)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The best choice with its plan (None: none fits), those compiled, and how many that could fit were not."""

    best: tuple[Choice, planning.Plan] | None
    tried: list[Choice]
    left: int


def run(config: Config, overwrite: bool = False) -> int:
    """Search and print; 1 where nothing fits."""
    found = search(config)
    count = len(found.tried)
    if found.best is None:
        leanest = min(found.tried, key=lambda choice: choice.floor)
        way = f"{found.left} more could fit: give tries={count + found.left}, or " if found.left else ""
        print(f"none of the {count} variants compiled fits; the leanest was {leanest}; {way}take a larger slice")
        return planning.DOES_NOT_FIT
    choice, made = found.best
    what = f"best of {count} compiled" if made.fits else f"fastest of {count} compiled, whose memory is not known"
    print("", f"{what}: {choice}", "", sep="\n")
    print("\n".join(planning.lines(choice.applied(config), made)))
    return 0


def search(config: Config, say: Callable[[str], Any] = print) -> Found:
    """Compile the choices of the highest rank. `say` gets a line for each. Raises ConfigError where none could be."""
    from toolrm_jax.parallel.topology import parse

    if not config.topology:
        raise ConfigError("plan search: topology is not given; name a slice, such as topology=v6e:8x8")
    if config.tries < 1:
        raise ConfigError(f"tries={config.tries}: expected a positive whole number; the nearest that works is 1")
    where = parse(config.topology, config.num_slices)
    shape = planning.shape_of(config.model or config.train.model.path, config.train.model.layers)
    ranked = sorted(choices(config, shape, where), key=lambda choice: -choice.speed)
    if not ranked:
        raise ConfigError(
            f"topology={config.topology}: weights and optimiser alone exceed its memory on every mesh; "
            f"take a larger slice"
        )
    best: tuple[Choice, planning.Plan] | None = None
    tried: list[Choice] = []
    refused: list[Choice] = []
    faults: list[ConfigError] = []
    left = 0
    for choice in ranked:
        # What needs at least as much as something that did not fit on the same mesh does not fit either.
        if any(no.sizes == choice.sizes and no.rows <= choice.rows and heavier(choice, no) for no in refused):
            continue
        if len(tried) == config.tries:
            left += 1
            continue
        tried.append(choice)
        try:
            made = planning.plan(choice.applied(config))
        except ConfigError as error:
            say(f"cannot be compiled: {choice}: {error}")
            faults.append(error)
            continue
        if made.fits is False:
            refused.append(choice)
            say(f"does not fit: {choice}")
            continue
        speed = made.estimate.tokens_per_second
        say(f"{'fits' if made.fits else 'memory not known'}, at most {speed:,.0f} tokens/s: {choice}")
        if best is None or speed > best[1].estimate.tokens_per_second:
            best = choice, made
    if len(faults) == len(tried):
        raise ConfigError(f"plan search: none of {len(tried)} variants could be compiled; the first: {faults[0]}")
    return Found(best, tried, left)


def heavier(choice: Choice, other: Choice) -> bool:
    """Whether a choice keeps at least as much for the backward pass as the other."""
    return REMAT.index(choice.remat) <= REMAT.index(other.remat)


def choices(config: Config, shape: TrunkConfig, where: Topology) -> Iterator[Choice]:
    """Every mesh of the slice's devices on which weights and rows divide, with rows and policies that could fit.

    Raises ConfigError for settings that no choice could mend, and where the model divides over no mesh.
    """
    from toolrm_jax.parallel.rules import row_parts
    from toolrm_jax.train.config import check
    from toolrm_jax.train.floor import Floor

    length = config.train.data.row_length
    check(Choice({}, max(1, config.train.accumulate), "full").applied(config).train)
    floor = Floor.of(config.train, shape, config.step)
    found = list(meshes(shape, where, length))
    if not found:
        raise ConfigError(
            f"topology={config.topology}: the model and rows of {length} tokens divide over no mesh of its "
            f"{where.devices // where.slices} devices; take a smaller slice"
        )
    policies = REMAT if config.step == "train" else ("none",)
    for sizes, each, remat in itertools.product(found, ROWS_OF_A_DEVICE, policies):
        choice = Choice(sizes, each * row_parts(sizes) * config.train.accumulate, remat)
        yield from rated(choice, config, shape, where, floor)


def rated(choice: Choice, config: Config, shape: TrunkConfig, where: Topology, floor: Floor) -> Iterator[Choice]:
    """The choice with its floor and speed; nothing where the slice has less memory than the floor."""
    applied = choice.applied(config)
    least = floor.bytes(applied.train, choice.sizes)
    if least <= where.chip.hbm:
        work = planning.estimated(applied, where, shape, *bytes_sent(applied, shape, choice.sizes))
        yield dataclasses.replace(choice, floor=least, speed=work.tokens_per_second)


def meshes(shape: TrunkConfig, where: Topology, row_length: int) -> Iterator[dict[str, int]]:
    """Sizes of the axes whose product is the number of devices; `data` only across slices."""
    from toolrm_jax.models.declarations import declarations
    from toolrm_jax.parallel.rules import divides

    within, weights = where.devices // where.slices, [weight for weight, _ in declarations(shape).values()]
    experts = min(shape.num_experts or 1, 64)
    for tensor, expert, context in itertools.product(_powers(8), _powers(experts), _powers(8)):
        rest, over = divmod(within, tensor * expert * context)
        # A device's part of a row is whole blocks of attention's kernel.
        if over or (context > 1 and row_length % (128 * context)):
            continue
        sizes = {"data": where.slices, "fsdp": rest, "tensor": tensor, "expert": expert, "context": context}
        if all(divides(weight.shape, weight.axes, sizes) for weight in weights):
            yield sizes


def _powers(most: int) -> list[int]:
    return [2**n for n in range(most.bit_length()) if 2**n <= most]


def bytes_sent(config: planning.Config, shape: TrunkConfig, sizes: dict[str, int]) -> tuple[int, int]:
    """A formula for the bytes that a device gets in a step within its slice and from others, to rank by.

    The compiler's count replaces it.
    """
    from toolrm_jax.models.declarations import parameter_count
    from toolrm_jax.parallel.rules import row_parts

    train = config.step == "train"
    parts = config.train.accumulate if train else 1
    passes = (1 + (config.train.model.remat != "none") + 1) if train else 1
    experts_elsewhere = sizes["expert"] if shape.num_experts else 1
    weights = parameter_count(shape).without_embedding / (sizes["tensor"] * experts_elsewhere)
    cut = sizes["fsdp"] * sizes["context"]
    sent = parts * (2.0 * passes + 4.0 * train) * weights * (cut - 1) / cut
    row_tokens = parts * config.train.part_rows / row_parts(sizes) * config.train.data.row_length
    tokens = row_tokens / sizes["context"]
    exchanges = 2 * (3 if train else 1) * shape.num_hidden_layers
    if sizes["tensor"] > 1:
        sent += 2 * 2.0 * exchanges * tokens * shape.hidden_size
    if sizes["expert"] > 1:
        sent += 2.0 * exchanges * tokens * shape.hidden_size * sizes["expert"]
    if sizes["context"] > 1:
        keys = 2 * shape.num_key_value_heads * shape.head_dim / sizes["tensor"]
        sent += 2.0 * exchanges * row_tokens * keys
    between = 8.0 * parts * weights / cut if train and sizes["data"] > 1 else 0.0
    return int(sent), int(between)
