"""Makes docs/plan_table.md: the smallest TPU slice that each model's train step fits, by the TPU's own compiler.

    python docs/plan_table.py [--models Qwen3-8B …] [--chips v6e …] [--lengths 4096 …]

One or two hours of CPU in all. What is known is kept in docs/plan_table.json after every compilation, and a second call
goes on from there; remove an entry to have it made again. The page is written anew each time, and says which cells are
not compiled yet.
The step is `toolrm plan`'s: bfloat16 compute, float32 weights and Adam moments, one row a device, remat full, weights
cut over all devices; of the meshes of a slice (`variants`) the first that fits is taken.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz

from toolrm_jax.commands import plan as planning
from toolrm_jax.commands.plan import Config
from toolrm_jax.errors import ConfigError
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.parallel.rules import AXES
from toolrm_jax.parallel.topology import CHIPS, Topology, has_libtpu, slices_of
from toolrm_jax.train.floor import Floor

MODELS = ("Qwen2.5-1.5B", "Qwen2.5-7B", "Qwen2.5-14B", "Qwen3-4B", "Qwen3-8B", "Qwen3-30B-A3B")
LENGTHS = (4096, 16384)
KNOWN = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")
GIB = 2**30
OPEN = "from"


def variants(model: str, length: int, kind: str) -> Iterator[tuple[str, Topology, dict[str, int]]]:
    """What is tried for a cell, in order, by name: slices from the smallest, on each the meshes.

    All devices lie along fsdp, or 4 of them along a row's tokens, or 8 along the experts.
    """
    experts = bool(planning.shape_of(model).num_experts)
    for where in slices_of(kind):
        devices = where.devices
        meshes = [{"fsdp": devices}]
        if length > 8192 and devices % 4 == 0:
            meshes += [{"fsdp": devices // 4, "context": 4}]
        if experts and devices % 8 == 0:
            meshes += [{"fsdp": devices // 8, "expert": 8}]
        for sizes in meshes:
            yield f"{model} | {length} | {where.name} | {words(sizes)}", where, dict.fromkeys(AXES, 1) | sizes


def words(sizes: dict[str, int]) -> str:
    """A mesh as a reader wants it."""
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items() if size > 1) or "one device"


def smallest(model: str, length: int, kind: str, known: dict[str, dict[str, Any]]) -> None:
    """Add to `known` what is tried, up to the first that fits.

    A slice whose memory is below a floor (weights, moments, kept layer inputs) is not compiled, and the compiler is
    quick to refuse one, so nearly all time goes into the one that fits.
    """
    for name, where, sizes in variants(model, length, kind):
        if name not in known:
            known[name] = tried(model, where, length, sizes)
            KNOWN.write_text(json.dumps(known, indent=1) + "\n")
            PAGE.write_text(page(known))
            print(name, known[name], flush=True)
        if known[name]["fits"]:
            return


def planned(model: str, where: Topology, length: int, sizes: dict[str, int]) -> Config:
    """The plan of one variant."""
    base = planning.any_run()
    data = chz.replace(base.data, rows=sizes["fsdp"] * sizes["expert"], row_length=length)
    return Config(model=model, topology=where.name, train=chz.replace(base, mesh=MeshConfig(**sizes), data=data))


def floor(config: Config, sizes: dict[str, int]) -> float:
    """Bytes that a device needs at least: weights, moments, gradients, and the input of every layer."""
    return floors(config.model).bytes(config.train, sizes)


@functools.cache
def floors(model: str) -> Floor:
    """Those of a model, whatever the mesh and the rows."""
    return Floor.of(planning.any_run(), planning.shape_of(model))


def tried(model: str, where: Topology, length: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Compile one variant, unless it cannot fit: {"fits", "gib" of a chip (known or a floor), "why" it failed}."""
    config = planned(model, where, length, sizes)
    in_gib, least = where.chip.devices / GIB, floor(config, sizes)
    if least > where.chip.hbm:
        return {"fits": False, "gib": round(least * in_gib, 2), "why": "floor"}
    try:
        made = planning.plan(config)
    except ConfigError as error:
        # A mesh that does not divide the model, or a fault of the compiler: told on the page.
        return {"fits": False, "gib": None, "why": str(error)[:300]}
    total = made.answer["memory"]["total"]
    gib = None if total is None else round(total * in_gib, 2)
    return {"fits": made.fits, "gib": gib, "why": "compiled", "cpu_seconds": round(made.answer["cpu_seconds"])}


def page(known: dict[str, dict[str, Any]]) -> str:
    """The page: a line for each model and row length, a column for each chip."""
    grid = {key: cell(*key, known) for key in itertools.product(MODELS, LENGTHS, CHIPS)}
    missing = sum(text.startswith(OPEN) for text in grid.values())
    faults = sorted(
        {f"* {name}: {one['why']}" for name, one in known.items() if one["why"] not in ("floor", "compiled")}
    )
    left = [
        "",
        f"{missing} of {len(grid)} cells are not compiled yet: `{OPEN} 2x4` says that weights, moments, gradients and",
        "the inputs of the layers alone need more than any smaller slice has.",
    ]
    heads = [f"{kind} ({chip.hbm * chip.devices / GIB:.0f} GiB)" for kind, chip in CHIPS.items()]
    lines = [
        "# The smallest TPU slice that a train step fits",
        "",
        "Made by `python docs/plan_table.py` with libtpu 0.0.51, which compiles for TPUs that are not there: nothing",
        "here was run on one. Each cell: slice, mesh, GiB of a chip's memory used. bfloat16 compute, float32 weights",
        "and Adam moments, one row a device (with `context 4`, one row for four), remat full. `-`: no slice that is",
        "rented fits.",
        *(left if missing else []),
        "",
        f"| model | row length | {' | '.join(heads)} |",
        f"| --- | --- | {' | '.join('---' for _ in CHIPS)} |",
    ]
    for model, length in itertools.product(MODELS, LENGTHS):
        lines.append(f"| {model} | {length:,} | {' | '.join(grid[model, length, kind] for kind in CHIPS)} |")
    if faults:
        lines += ["", "Not compiled, so a smaller slice than the one in the table may do:", "", *faults]
    return "\n".join(lines) + "\n"


def cell(model: str, length: int, kind: str, known: dict[str, dict[str, Any]]) -> str:
    """The first slice and mesh that fits; where it is not known yet, the first slice that a floor leaves."""
    for name, where, sizes in variants(model, length, kind):
        shape = where.name.partition(":")[2]
        if name in known:
            if known[name]["fits"]:
                return f"{shape}, {words(sizes)}, {known[name]['gib']:.1f}"
        elif floor(planned(model, where, length, sizes), sizes) <= where.chip.hbm:
            return f"{OPEN} {shape}"
    return "-"


def main() -> None:
    """Make what is asked for and not known: short rows first, since most runs have them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--chips", nargs="+", default=[*CHIPS], choices=[*CHIPS])
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, choices=LENGTHS)
    options = parser.parse_args()
    if not has_libtpu():
        raise SystemExit("libtpu is not installed: pip install 'toolrm_jax[plan]'")
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    for length, kind, model in itertools.product(options.lengths, options.chips, options.models):
        smallest(model, length, kind, known)
    PAGE.write_text(page(known))


if __name__ == "__main__":
    main()
