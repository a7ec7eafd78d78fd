"""A sweep as one HTML page: its best point, parallel coordinates of all runs, a plot of each factor, and the table.

Drawn as SVG by hand in the page's own colours, so that light, dark and print share one picture and nothing is fetched.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape
from importlib import resources

from toolrm_jax.commands.sweep_points import SEED, short_names
from toolrm_jax.commands.sweep_table import Found, Result, best_group, interval, number, rerun

HEIGHT, TOP, BOTTOM = 250, 30, 30
AXIS_WIDTH = 150
PANEL = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Where the values of a setting lie between 0 and 1: numbers by size (or its logarithm), words in their order."""

    name: str
    values: tuple[str, ...]
    places: dict[str, float]

    @classmethod
    def of(cls, name: str, values: Sequence[str]) -> Axis:
        """The axis of these values, as they were typed."""
        known = tuple(dict.fromkeys(values))
        try:
            numbers = {value: float(value) for value in known}
        except ValueError:
            numbers = {}
        if not numbers or not all(map(math.isfinite, numbers.values())):
            numbers = {value: float(place) for place, value in enumerate(known)}
        elif min(numbers.values()) > 0 and max(numbers.values()) / min(numbers.values()) >= 10:
            numbers = {value: math.log(place) for value, place in numbers.items()}
        low, high = min(numbers.values()), max(numbers.values())
        places = {value: (place - low) / (high - low) if high > low else 0.5 for value, place in numbers.items()}
        return cls(name, tuple(sorted(known, key=places.__getitem__)), places)

    def ticks(self, room: int = 8) -> tuple[str, ...]:
        """The values to write beside the axis; where there are too many, some of them."""
        step = max(1, math.ceil(len(self.values) / room))
        return self.values[::step]


def page(found: Found) -> str:
    """The page's text."""
    import jinja2

    template = resources.files("toolrm_jax.commands").joinpath("sweep.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    best = best_group(found)
    done = [result for result in found.results if result.state == "done" and result.value is not None]
    names = (*found.factors, *([SEED] if any(SEED in result.point for result in found.results) else []))
    return environment.from_string(template).render(
        found=found,
        best=best,
        interval=interval,
        number=number,
        short=short_names(found.factors),
        command=rerun(best.results[0], "runs/best") if best else "",
        coordinates=coordinates(found, done, names) if done and names else "",
        panels=[(name, panel(found, done, name)) for name in found.factors] if done else [],
        finished=len(done),
    )


def coordinates(found: Found, done: Sequence[Result], names: Sequence[str]) -> str:
    """A line for each finished run through its settings to its metric; better runs are drawn stronger and last."""
    axes = [Axis.of(name, [result.point.get(name, "-") for result in done]) for name in names]
    values = [result.value for result in done]
    low, high = min(values), max(values)
    width = AXIS_WIDTH * len(axes) + 120
    parts = [f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="Runs by setting and {escape(found.metric)}">']
    x = [70 + AXIS_WIDTH * index for index in range(len(axes) + 1)]

    def goodness(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 1.0
        return 1 - share if found.lower else share

    for result in sorted(done, key=lambda each: goodness(each.value)):
        y = [_y(axis.places[result.point.get(axis.name, "-")]) for axis in axes]
        y.append(_y((result.value - low) / (high - low) if high > low else 0.5))
        good = goodness(result.value)
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))
        label = escape(f"{result.name}: {number(result.value)}")
        parts.append(
            f'<polyline points="{line}" class="run" style="opacity:{0.08 + 0.8 * good**3:.2f};'
            f'stroke-width:{1 + 1.8 * good:.1f}"><title>{label}</title></polyline>'
        )
    short = short_names(names)
    for place, axis in zip(x, axes):
        parts += _upright(place, short[axis.name], [(axis.places[value], value) for value in axis.ticks()])
    ends = [(0.0, number(low)), (1.0, number(high))] if high > low else [(0.5, number(low))]
    parts += _upright(x[-1], found.metric, ends)
    return "".join([*parts, "</svg>"])


def panel(found: Found, done: Sequence[Result], name: str) -> str:
    """Every finished run's metric over one setting, and the mean at each of its values."""
    axis = Axis.of(name, [result.point.get(name, "-") for result in done])
    values = [result.value for result in done]
    low, high = min(values), max(values)
    span = high - low or 1.0
    left, right = 64, PANEL - 16

    def at(place: float) -> float:
        return left + 14 + place * (right - left - 28)

    parts = [f'<svg viewBox="0 0 {PANEL} {HEIGHT}" role="img" aria-label="{escape(found.metric)} by {escape(name)}">']
    for share, value in {0.0: low, 1.0: high}.items():
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    means = []
    for value in axis.values:
        there = [result.value for result in done if result.point.get(name, "-") == value]
        place = at(axis.places[value])
        dots = (f'<circle class="dot" cx="{place:.1f}" cy="{_y((each - low) / span):.1f}" r="3.5"/>' for each in there)
        parts += dots
        means.append(f"{place:.1f},{_y((sum(there) / len(there) - low) / span):.1f}")
    parts.append(f'<polyline class="mean" points="{" ".join(means)}"/>')
    for value in axis.ticks(5):
        place = at(axis.places[value])
        parts.append(f'<text class="tick" x="{place:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{_cut(value)}</text>')
    return "".join([*parts, "</svg>"])


def _upright(x: float, name: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
    parts = [f'<line class="axis" x1="{x}" x2="{x}" y1="{_y(0):.1f}" y2="{_y(1):.1f}"/>']
    parts.append(f'<text class="name" x="{x}" y="16" text-anchor="middle">{escape(name)}</text>')
    for place, text in ticks:
        parts.append(f'<text class="tick halo" x="{x + 6}" y="{_y(place) + 4:.1f}">{_cut(text)}</text>')
    return parts


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _cut(text: str, length: int = 14) -> str:
    """The end of a long value, which is where paths differ."""
    return escape(text if len(text) <= length else f"…{text[1 - length :]}")
