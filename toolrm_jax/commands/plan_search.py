"""Try mesh shapes, row counts and remat policies for a TPU slice, and print the best that fits.

All choices are ranked by a formula (work, bytes sent, and a floor of the memory needed), and the first of them are
compiled as `toolrm plan` does, until `tries` were. The best is the one with the most tokens/s by the estimate from
published peaks: it is no measurement. Exit code 1: none of those tried fits.

    toolrm plan search model=Qwen3-8B topology=v6e:4x4
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import chz

from toolrm_jax.commands import plan as planning
from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.mesh import MeshConfig

if TYPE_CHECKING:
    from toolrm_jax.models.config import TrunkConfig
    from toolrm_jax.parallel.topology import Topology

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
    floor: float
    speed: float

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
        mesh = " ".join(f"mesh.{axis}={size}" for axis, size in self.sizes.items() if size > 1)
        return f"train.{mesh.replace(' ', ' train.')} train.data.rows={self.rows} train.model.remat={self.remat}"


def run(config: Config, overwrite: bool = False) -> int:
    """Search and print; 1 where nothing fits."""
    best, tried = search(config)
    if best is None:
        smallest = min(tried, key=lambda choice: choice.floor)
        print(f"none of the {len(tried)} variants compiled fits; the leanest was {smallest}; take a larger slice")
        return planning.DOES_NOT_FIT
    choice, made = best
    print("", f"best of {len(tried)} compiled: {choice}", "", sep="\n")
    print("\n".join(planning.lines(choice.applied(config), made)))
    return 0


def search(config: Config, say=print) -> tuple[tuple[Choice, planning.Plan] | None, list[Choice]]:
    """The best variant with its plan (None: none fits), and those compiled. `say` gets a line for each."""
    from toolrm_jax.parallel.topology import parse

    if not config.topology:
        raise ConfigError("plan search: topology is not given; name a slice, such as topology=v6e:8x8")
    where = parse(config.topology, config.num_slices)
    shape = planning.shape_of(config.model or config.train.model.path, config.train.model.layers)
    ranked = sorted(choices(config, shape, where), key=lambda choice: -choice.speed)
    if not ranked:
        raise ConfigError(
            f"topology={config.topology}: weights and optimiser alone exceed its memory on every mesh; "
            f"take a larger slice"
        )
    best, tried, refused = None, [], []
    for choice in ranked:
        if len(tried) == config.tries:
            break
        # What needs at least as much as something that did not fit on the same mesh does not fit either.
        if any(no.sizes == choice.sizes and no.rows <= choice.rows and heavier(choice, no) for no in refused):
            continue
        tried.append(choice)
        made = planning.plan(choice.applied(config))
        if made.fits is False:
            refused.append(choice)
            say(f"does not fit: {choice}")
            continue
        speed = made.estimate.tokens_per_second
        say(f"fits, at most {speed:,.0f} tokens/s: {choice}")
        if best is None or speed > best[1].estimate.tokens_per_second:
            best = choice, made
    return best, tried


def heavier(choice: Choice, other: Choice) -> bool:
    """Whether a choice keeps at least as much for the backward pass as the other."""
    return REMAT.index(choice.remat) <= REMAT.index(other.remat)


def choices(config: Config, shape: TrunkConfig, where: Topology) -> Iterator[Choice]:
    """Every mesh of the slice's devices on which weights and rows divide, with rows and policies that could fit."""
    from toolrm_jax.parallel.rules import row_parts

    policies = REMAT if config.step == "train" else ("none",)
    for sizes in meshes(shape, where, config.train.data.row_length):
        for each, remat in itertools.product(ROWS_OF_A_DEVICE, policies):
            rows = each * row_parts(sizes)
            floor = memory_floor(config, shape, sizes, each, remat)
            if floor <= where.chip.hbm:
                tried = Choice(sizes, rows, remat, floor, 0.0)
                sent = [["", "", True, 1, bytes_sent(config, shape, sizes, each, remat)]]
                work = planning.estimated(tried.applied(config), where, shape, sent)
                yield dataclasses.replace(tried, speed=work.tokens_per_second)


def meshes(shape: TrunkConfig, where: Topology, row_length: int) -> Iterator[dict[str, int]]:
    """Sizes of the axes whose product is the number of devices; `data` only across slices."""
    within = where.devices // where.slices
    heads = math.gcd(shape.num_attention_heads, shape.num_key_value_heads, shape.intermediate_size)
    experts = shape.num_experts or 1
    for tensor, expert, context in itertools.product(_powers(min(heads, 8)), _powers(min(experts, 64)), _powers(8)):
        rest, over = divmod(within, tensor * expert * context)
        if over or not rest or heads % tensor or experts % expert or row_length % (128 * context):
            continue
        if shape.hidden_size % (rest * context) == 0:
            yield {"data": where.slices, "fsdp": rest, "tensor": tensor, "expert": expert, "context": context}


def _powers(most: int) -> list[int]:
    return [2**n for n in range(most.bit_length()) if 2**n <= most]


def memory_floor(config: Config, shape: TrunkConfig, sizes: dict[str, int], rows: int, remat: str) -> float:
    """Bytes that a device holds at least: weights, moments, gradients, and what the policy keeps of each layer."""
    from toolrm_jax.models.declarations import declarations
    from toolrm_jax.parallel.rules import RULES

    copies = 4 if config.step == "train" else 1
    held = 0.0
    for weight, layers in declarations(shape).values():
        parts = math.prod(sizes[axis] for name in weight.axes for axis in RULES[name])
        held += 4.0 * copies * weight.size * (len(layers) or 1) / parts
    if config.step != "train":
        return held
    tokens = rows * config.train.data.row_length / sizes["context"]
    heads = shape.num_attention_heads * shape.head_dim / sizes["tensor"]
    mlp = (shape.moe_intermediate_size * shape.num_experts_per_tok or shape.intermediate_size) / sizes["tensor"]
    kept = {"full": shape.hidden_size, "attention": shape.hidden_size + heads}
    kept["none"] = 4 * shape.hidden_size + 3 * heads + 3 * mlp
    return held + 2.0 * tokens * shape.num_hidden_layers * kept[remat]


def bytes_sent(config: Config, shape: TrunkConfig, sizes: dict[str, int], rows: int, remat: str) -> int:
    """A formula for the bytes that a device gets in a step, to rank by: the compiler's count replaces it."""
    from toolrm_jax.models.declarations import parameter_count

    train = config.step == "train"
    passes = (1 + (remat != "none") + 1) if train else 1
    experts_elsewhere = sizes["expert"] if shape.num_experts else 1
    weights = parameter_count(shape).without_embedding / (sizes["tensor"] * experts_elsewhere)
    cut = sizes["fsdp"] * sizes["context"]
    sent = (2.0 * passes + 4.0 * train) * weights * (cut - 1) / cut
    tokens = rows * config.train.data.row_length / sizes["context"]
    exchanges = 2 * (3 if train else 1) * shape.num_hidden_layers
    if sizes["tensor"] > 1:
        sent += 2 * 2.0 * exchanges * tokens * shape.hidden_size
    if sizes["expert"] > 1:
        sent += 2.0 * exchanges * tokens * shape.hidden_size * sizes["expert"]
    if sizes["context"] > 1:
        keys = 2 * shape.num_key_value_heads * shape.head_dim / sizes["tensor"]
        sent += 2.0 * exchanges * rows * config.train.data.row_length * keys
    if sizes["data"] > 1:
        sent += 8.0 * weights / cut
    return int(sent)
