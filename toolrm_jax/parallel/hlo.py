"""What a compiled step sends between devices, read from its HLO: kinds, bytes, and in which loop."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolrm_jax.models.trunk import LAYERS

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute")
BETWEEN = "between slices"
"""The kind of what goes to other slices: a send that libtpu hands to the network, as a part of some collective."""
Place = Literal["in the layer loop", "in another loop", "outside of loops"]
"""Other loops: over the parts of a step, or over pieces of a language model's logits."""
IN_LAYERS: Place = "in the layer loop"
IN_LOOP: Place = "in another loop"
ONCE: Place = "outside of loops"
BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64}
BITS |= {"bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64}

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_SHAPE = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,]*)\]")
_CALLS = re.compile(r"(?:calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.-]+)")
_SEVERAL = re.compile(r"(?:branch_computations|called_computations|calls)=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_CONSTANT = re.compile(r"[su]32\[\][^ ]* constant\((\d+)\)")
_OPERATION = re.compile(r'op_name="([^"]*)"')
# The scan over the layers of a stack, forward as jvp(layers)/while and backward as transpose(jvp(layers))/while.
_LAYER_LOOP = re.compile(rf'op_name="[^"]*\b{LAYERS}\)*/while"')


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective operation. `bytes` is the largest of what a device gives and gets; `runs` counts its loop's turns.

    shapes: (dtype, dimensions) of each result on one device.
    gathers: whether it puts the devices' parts together: an all-gather, or what a TPU may make of one, an all-reduce of
    arrays that are zero but for the device's own part.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    bytes: int
    runs: int
    place: Place
    gathers: bool
    operation: str

    @property
    def dtype(self) -> str:
        """That of its largest result."""
        return max(self.shapes, key=_bytes, default=("none", ()))[0]


@dataclass(slots=True)
class _Computation:
    lines: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, type, opcode, rest
    text: list[str] = field(default_factory=list)


def collectives(hlo: str) -> list[Collective]:
    """Every collective of a compiled module. One that the compiler split into pieces (one channel) counts once."""
    computations, entry = _computations(hlo)
    runs: dict[str, int] = defaultdict(int)
    places: dict[str, Place] = {}
    _walk(computations, entry, 1, ONCE, runs, places)
    found: dict[object, Collective] = {}
    for name, computation in computations.items():
        if name not in places:
            continue
        types = {one: kind for one, kind, _, _ in computation.lines}
        for instruction, kind, opcode, rest in computation.lines:
            base = opcode.removesuffix("-start")
            if opcode == "send" and "megascale" in rest:
                base = BETWEEN
            elif base not in KINDS:
                continue
            elif base == "all-reduce" and name.startswith("all-reduce-scatter"):
                base = "reduce-scatter"  # a TPU's form of it: each device keeps its part of the sum
            channel = _CHANNEL.search(rest)
            key = channel[1] if channel else (name, instruction)
            operation = _OPERATION.search(rest)
            shapes = _result_shapes(kind, opcode)
            operands = _operands(rest)
            given = [shape for operand in operands for shape in _shapes(types.get(operand, ""))[:1]]
            size = max(sum(map(_bytes, shapes)), sum(map(_bytes, given)))
            written = bool(operands) and all("dynamic-update-slice" in operand for operand in operands)
            gathers = base == "all-gather" or (base == "all-reduce" and written)
            told = operation[1] if operation else ""
            one = Collective(base, shapes, size, runs[name], places[name], gathers, told)
            if key not in found or found[key].bytes < one.bytes:
                found[key] = one
    return list(found.values())


def totals(found: list[Collective]) -> Mapping[tuple[str, str, Place], tuple[int, int]]:
    """By kind, dtype and place: how many run in a step, and their bytes on one device."""
    sums: dict[tuple[str, str, Place], tuple[int, int]] = {}
    for one in found:
        key = one.kind, one.dtype, one.place
        count, size = sums.get(key, (0, 0))
        sums[key] = (count + one.runs, size + one.runs * one.bytes)
    return sums


def gathered_outside(found: list[Collective], weights: Mapping[int, str]) -> list[tuple[str, Collective]]:
    """Weights gathered outside of the layer loop, that should be gathered layer by layer: names, and the operations.

    weights: names by how many numbers each has when it is gathered (`shardings.gathered_sizes`). A weight is told by
    that alone, so an activation of the very same size would be taken for one. Whole numbers (token ids) are none.
    """
    return [
        (weights[numbers], one)
        for one in found
        if one.gathers and one.place != IN_LAYERS
        for dtype, dimensions in one.shapes
        if dtype.startswith(("f", "bf")) and (numbers := math.prod(dimensions)) in weights
    ]


def loop_turns(hlo: str) -> list[int]:
    """How often each loop of the entry computation runs, in its order."""
    computations, entry = _computations(hlo)
    return [_turns(computations, rest) for _, _, op, rest in computations[entry].lines if op == "while"]


def _computations(hlo: str) -> tuple[dict[str, _Computation], str]:
    found: dict[str, _Computation] = {}
    current, entry = None, ""
    for line in hlo.splitlines():
        header = _COMPUTATION.match(line)
        if header and not line.startswith(" "):
            current = found.setdefault(header[1], _Computation())
            entry = header[1] if line.startswith("ENTRY") else entry
        elif current is not None and (parts := _INSTRUCTION.match(line)):
            current.lines.append(parts.groups())  # type: ignore[arg-type]
            current.text.append(line)
    assert entry, "no entry computation in this HLO"
    return found, entry


def _walk(
    computations: Mapping[str, _Computation],
    name: str,
    times: int,
    place: Place,
    runs: dict[str, int],
    places: dict[str, Place],
) -> None:
    """Count how often each computation runs, from the entry down, and where: if in several places, the outermost."""
    runs[name] += times
    places[name] = max(places.get(name, place), place, key=(IN_LAYERS, IN_LOOP, ONCE).index)
    for _, _, opcode, rest in computations[name].lines:
        called = [one for one in _called(rest) if one in computations]
        turns, inner = times, place
        if opcode == "while":
            turns *= _turns(computations, rest)
            inner = IN_LAYERS if place == IN_LAYERS or _LAYER_LOOP.search(rest) else IN_LOOP
        for one in called:
            _walk(computations, one, turns, inner, runs, places)


def _called(rest: str) -> Iterator[str]:
    yield from _CALLS.findall(rest)
    for several in _SEVERAL.findall(rest):
        yield from re.findall(r"%([\w.-]+)", several)


def _turns(computations: Mapping[str, _Computation], rest: str) -> int:
    """A loop's number of turns: as XLA noted it, else the constant that its condition compares the counter with."""
    if noted := _TRIPS.search(rest):
        return int(noted[1])
    condition = re.search(r"condition=%?([\w.-]+)", rest)
    assert condition, rest[:200]
    constants = [int(n) for line in computations[condition[1]].text for n in _CONSTANT.findall(line)]
    # A loop without a constant bound (a search, a kernel's work list) is counted once.
    return max(constants, default=1)


def _result_shapes(kind: str, opcode: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Shapes of the results. An asynchronous start gives (operands, results, contexts…): the second part counts."""
    shapes = _shapes(kind)
    if opcode == "send":
        return tuple(shapes[:1])
    if opcode.endswith("-start") and opcode != "all-reduce-start":
        if kind.startswith("(("):
            inner = re.findall(r"\(([^()]*)\)", kind[1:])
            shapes = _shapes(inner[1] if len(inner) > 1 else "")
        else:
            shapes = shapes[1:2]
    return tuple(shapes)


def _operands(rest: str) -> list[str]:
    return re.findall(r"%([\w.-]+)", rest.partition(")")[0])


def _shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, _dimensions(sizes)) for dtype, sizes in _SHAPE.findall(text)]


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)


def _bytes(shape: tuple[str, tuple[int, ...]]) -> int:
    dtype, dimensions = shape
    # Tokens, which order operations, and other things without numbers take no bytes; every 8-bit float begins alike.
    return math.prod(dimensions) * BITS.get(dtype, 8 if dtype.startswith("f8") else 0) // 8
