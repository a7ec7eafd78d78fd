"""From swept settings to points: `a=1,2,3`, `seed=0:3`, `rate=log:1e-6:1e-4`, files of bindings, and lists of points.

A point is the words that set it apart; its name is made of what differs.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from toolrm_jax.errors import ConfigError
from toolrm_jax.seeding import seeded

SEED = "seed"
"""The setting that repeats a point: never drawn, and what means and intervals are taken over."""
LONGEST = 160
"""Characters of a run's name, which is a folder's; what goes beyond is told apart by a hash."""
_RANGE = re.compile(r"(-?\d+):(-?\d+)(?::(-?\d+))?")
_LAW = re.compile(r"(log|uniform):([^:,]+):([^:,]+)")
_NO_NAME = re.compile(r"[^A-Za-z0-9._=-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """What a file of configs/sweeps/ holds: the settings of `toolrm train`, where some stand with several values.

    settings: name to one value, a list of values, or a law to draw from. points: in place of a grid, each a mapping
    of the settings that set it apart. before: words of `toolrm` commands to run first, such as those that prepare data;
    each must do nothing where it is done.
    """

    settings: Mapping[str, Any]
    points: Sequence[Mapping[str, Any]] = ()
    draws: int | None = None
    before: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Law:
    """A distribution to draw from, uniform in the value or in its logarithm; `whole` rounds."""

    kind: str
    low: float
    high: float
    whole: bool

    def draw(self, share: float) -> str:
        """The value below which this share of draws lies, to three digits, as it may be typed."""
        if self.kind == "log":
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return str(round(value)) if self.whole else f"{value:.3g}"


Values = tuple[str, ...] | Law
Point = dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A point under the name of its run."""

    name: str
    point: Point


def read_values(name: str, text: str, whole: bool) -> Values | None:
    """What is swept over, or None where `text` is one value. `whole`: the setting is a whole number."""
    if law := _LAW.fullmatch(text):
        try:
            low, high = float(law[2]), float(law[3])
        except ValueError:
            raise ConfigError(f"{name}={text}: expected {law[1]}:LOW:HIGH with numbers") from None
        if not low < high or (law[1] == "log" and low <= 0):
            raise ConfigError(f"{name}={text}: expected LOW below HIGH{', both above 0' if law[1] == 'log' else ''}")
        return Law(law[1], low, high, whole)
    if whole and (span := _RANGE.fullmatch(text)):
        values = range(int(span[1]), int(span[2]), int(span[3] or 1) or 1)
        if not values:
            raise ConfigError(f"{name}={text}: holds no number; 0:3 is 0, 1, 2")
        return tuple(map(str, values))
    if "," not in text:
        return None
    values = tuple(value.strip() for value in text.split(","))
    if "" in values:
        raise ConfigError(f"{name}={text}: a value is empty; write them as 1,2,3")
    return values


def make_points(factors: Mapping[str, Values], draws: int | None, seed: int) -> list[Point]:
    """The grid of all factors, the last one changing fastest; or `draws` points drawn of it, each with every seed."""
    laws = [name for name, values in factors.items() if isinstance(values, Law)]
    if draws is None:
        if laws:
            raise ConfigError(f"{laws[0]}: is drawn from a law; say how many points, draws=N")
        return [dict(zip(factors, values)) for values in itertools.product(*factors.values())]
    if draws < 1:
        raise ConfigError(f"draws={draws}: expected a positive whole number")
    drawn = [name for name in factors if name != SEED]
    if not drawn:
        raise ConfigError("draws: nothing is swept over to draw from; give a=1,2,3 or a=log:LOW:HIGH")
    points = [{name: _draw(factors[name], name, seed, number) for name in drawn} for number in range(draws)]
    points = [point for index, point in enumerate(points) if point not in points[:index]]
    seeds = factors.get(SEED)
    if isinstance(seeds, Law):
        raise ConfigError(f"{SEED}: list seeds, such as {SEED}=0:3; they are not drawn")
    return [point | {SEED: each} for point in points for each in seeds] if seeds else points


def _draw(values: Values, name: str, seed: int, number: int) -> str:
    share = seeded(seed, "point of a sweep", name, number).random()
    return values.draw(share) if isinstance(values, Law) else values[int(share * len(values))]


def named(points: Sequence[Point]) -> list[Named]:
    """The points under names of what differs. Raises ConfigError where two would share one."""
    every = dict.fromkeys(name for point in points for name in point)
    differ = [name for name in every if len({point.get(name) for point in points}) > 1]
    short = short_names(differ)
    found: dict[str, Point] = {}
    for point in points:
        parts = [f"{short[name]}={point[name]}" for name in differ if name in point]
        name = _NO_NAME.sub("-", "_".join(parts)) or "run"
        if len(name) > LONGEST:
            name = f"{name[:LONGEST]}-{sha256(name.encode()).hexdigest()[:8]}"
        if name in found:
            both = " and ".join(" ".join(f"{k}={v}" for k, v in each.items()) or "{}" for each in (found[name], point))
            raise ConfigError(f"two points of one name, {name}: {both}; leave one out, or name values that differ more")
        found[name] = point
    return [Named(name, point) for name, point in found.items()]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each setting's last part, or so many of its last parts as tell it from the others."""
    found = {}
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            short = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{short}") for other in names) == 1:
                break
        found[name] = short
    return found
