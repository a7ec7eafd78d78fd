"""Makes docs/plan_table.md: the smallest TPU slice that each model's train step fits, by the TPU's own compiler.

    python docs/plan_table.py [MODEL …]

Hours of CPU. What is known is kept in docs/plan_table.json after every compilation, and a second call goes on from
there; remove an entry to have it made again. The step is `toolrm plan`'s: bfloat16 compute, float32 weights and Adam
moments, one row a device (with rows of 16,384 tokens also over 4 devices), remat full, weights cut over all devices.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import chz

from toolrm_jax.commands import plan as planning
from toolrm_jax.commands.plan_search import Config, memory_floor
from toolrm_jax.parallel.mesh import MeshConfig
from toolrm_jax.parallel.topology import CHIPS, Topology, slices_of

MODELS = ("Qwen2.5-1.5B", "Qwen2.5-7B", "Qwen2.5-14B", "Qwen3-4B", "Qwen3-8B", "Qwen3-30B-A3B")
LENGTHS = (4096, 16384)
HERE = Path(__file__).parent
GIB = 2**30


def variants(where: Topology, length: int, experts: bool) -> list[dict[str, int]]:
    """The meshes tried on a slice: all devices along fsdp, or some of them along a row's tokens or the experts."""
    devices = where.devices
    found = [{"fsdp": devices}]
    if experts:
        found += [{"fsdp": devices // n, "expert": n} for n in (4, 8) if devices % n == 0 and devices >= n]
    if length > 8192 and devices % 4 == 0:
        found += [{"fsdp": devices // 4, "context": 4}]
    return [{"data": 1, "fsdp": 1, "tensor": 1, "expert": 1, "context": 1} | sizes for sizes in found]


def smallest(model: str, kind: str, length: int, known: dict[str, dict]) -> None:
    """Add to `known` every slice and mesh tried, up to the first slice that fits."""
    shape = planning.shape_of(model)
    for where in slices_of(kind):
        fits = False
        for sizes in variants(where, length, bool(shape.num_experts)):
            mesh = ", ".join(f"{axis} {size}" for axis, size in sizes.items() if size > 1) or "one device"
            name = f"{model} | {length} | {where.name} | {mesh}"
            if name not in known:
                known[name] = tried(model, where, length, sizes)
                (HERE / "plan_table.json").write_text(json.dumps(known, indent=1) + "\n")
                print(name, known[name], flush=True)
            fits |= known[name]["fits"]
        if fits:
            return


def tried(model: str, where: Topology, length: int, sizes: dict[str, int]) -> dict:
    """Compile one variant, unless weights, moments and kept layer inputs alone exceed the memory."""
    base = planning.any_run()
    rows = sizes["fsdp"] * sizes["expert"]
    data = chz.replace(base.data, rows=rows, row_length=length)
    train = chz.replace(base, mesh=MeshConfig(**sizes), data=data)
    config = Config(model=model, topology=where.name, train=train)
    floor = memory_floor(config, planning.shape_of(model), sizes, 1, "full")
    if floor > where.chip.hbm:
        return {"fits": False, "compiled": False, "gib": round(floor * where.chip.devices / GIB, 2)}
    made = planning.plan(config)
    if made.fits is None:
        raise SystemExit("libtpu is not installed: pip install 'toolrm_jax[plan]'")
    total = made.answer["memory"]["total"]
    return {
        "fits": made.fits,
        "compiled": True,
        "gib": total and round(total * where.chip.devices / GIB, 2),
        "tokens_per_second": round(made.estimate.tokens_per_second),
    }


def table(known: dict[str, dict]) -> str:
    """The page: one line for each model and row length, one column for each chip; what is not known is left open."""
    heads = [f"{kind} ({chip.hbm * chip.devices / GIB:.0f} GiB)" for kind, chip in CHIPS.items()]
    lines = [
        "# The smallest TPU slice that a train step fits",
        "",
        "Made by `python docs/plan_table.py` with libtpu 0.0.51, which compiles for TPUs that are not there: nothing",
        "here was run on one. Each cell: slice, mesh, GiB used on a chip. bfloat16 compute, float32 weights and Adam",
        "moments, one row a device, remat full. An open cell is not made yet; `-` fits none of the slices listed.",
        "",
        f"| model | row length | {' | '.join(heads)} |",
        f"| --- | --- | {' | '.join('---' for _ in CHIPS)} |",
    ]
    for model in MODELS:
        for length in LENGTHS:
            lines.append(f"| {model} | {length:,} | {' | '.join(cell(model, kind, length, known) for kind in CHIPS)} |")
    return "\n".join(lines) + "\n"


def cell(model: str, kind: str, length: int, known: dict[str, dict]) -> str:
    """The first slice that fits, with the leanest of its meshes."""
    tries: dict[str, list[tuple[float, str]]] = {}
    for name, found in known.items():
        of, at, where, mesh = name.split(" | ")
        if (of, at) == (model, str(length)) and where.startswith(f"{kind}:"):
            tries.setdefault(where, []).extend([(found["gib"], mesh)] if found["fits"] else [])
    for where in slices_of(kind):
        if tries.get(where.name):
            size, mesh = min(tries[where.name])
            return f"{where.name.partition(':')[2]}, {mesh}, {size:.1f}"
    return "-" if len(tries) == len(slices_of(kind)) else ""


def main() -> None:
    file = HERE / "plan_table.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    for model in sys.argv[1:] or MODELS:
        for length in LENGTHS:
            for kind in CHIPS:
                smallest(model, kind, length, known)
                (HERE / "plan_table.md").write_text(table(known))
    (HERE / "plan_table.md").write_text(table(known))


if __name__ == "__main__":
    main()
