"""The report's plots as inline SVG, in colours that the page sets: light, dark and print share one picture.

Matplotlib draws in stand-in colours, which are then replaced by the page's CSS variables; text stays text. The two
data colours are blue and orange of Okabe and Ito's palette, which people with colour blindness can tell apart.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolrm_jax.evals.metrics import Accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from toolrm_jax.evals.benchmark import Drawing

INK, SOFT, LINE, MAIN, OTHER, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", MAIN: "main", OTHER: "other", PAPER: "paper"}

PANEL_INCHES = 4.6
NAME_INCHES = 0.077
"""Width of one letter of a judge's name in a wide font."""
BINS = 30
SMOOTHING = 12
"""The smoothed loss is a mean over about this share (1/n) of the steps."""


def curve(name: str, steps: Sequence[int], values: Sequence[float], percent: bool, key: str) -> str:
    """A line over training steps: accuracies (`percent`) with their points, a loss with its running mean."""
    x, y = list(steps), [100 * value if percent else value for value in values]
    figure, axes = _axes(5.2, 3.0)
    if percent:
        axes.plot(x, y, color=MAIN, linewidth=1.8, marker="o", markersize=4)
        end = {"ha": "right", "color": INK, "weight": "bold"}
        axes.annotate(f"{y[-1]:.1f} %", (x[-1], y[-1]), (0, 8), textcoords="offset points", **end)
        axes.margins(y=0.2)
    else:
        window = max(1, len(y) // SMOOTHING)
        axes.plot(x, y, color=SOFT, linewidth=0.8, alpha=0.6)
        axes.plot(x, _running_mean(y, window), color=MAIN, linewidth=2.0)
    axes.set_title(_plain(f"{name}, %" if percent else name), loc="left", color=INK, fontsize=11, weight="bold", pad=10)
    axes.set_xlabel("training step", color=SOFT)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    return _svg(figure, key, f"{name} over training steps")


def judges_panel(title: str, rows: Sequence[tuple[str, Accuracy, bool]], key: str) -> str:
    """Accuracy of each judge (name, accuracy, whether it is the trained model) with its interval, chance marked."""
    figure, axes = _axes(PANEL_INCHES, 0.62 + 0.27 * len(rows))
    places = range(len(rows))[::-1]
    for place, (_, found, main) in zip(places, rows):
        colour = MAIN if main else SOFT
        low, high, value = 100 * found.low, 100 * found.high, 100 * found.value
        axes.plot([low, high], [place, place], color=colour, linewidth=2.6 if main else 1.4, solid_capstyle="round")
        axes.plot([value], [place], marker="o", markersize=7 if main else 5, color=colour)
        style = {"color": INK if main else SOFT, "weight": "bold" if main else "normal"}
        axes.text(108, place, f"{value:.1f}", va="center", ha="left", fontsize=9.5, **style)
    axes.axvline(50, color=LINE, linewidth=1.0, linestyle=(0, (3, 2)), zorder=0)
    axes.set_xlim(-2, 104)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(list(places), [_plain(name) for name, _, _ in rows])
    for label, (_, _, main) in zip(axes.get_yticklabels(), rows):
        label.set(color=INK if main else SOFT, weight="bold" if main else "normal", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    height = figure.get_figheight()
    names = max(len(name) for name, _, _ in rows)
    left = min(0.5, max(0.25, (0.1 + NAME_INCHES * names) / PANEL_INCHES))
    figure.subplots_adjust(left=left, right=0.88, top=1 - 0.32 / height, bottom=0.26 / height)
    title = f"{title} ({rows[0][1].pairs:,})"
    figure.text(0.01, 1 - 0.04 / height, _plain(title), color=INK, fontsize=11, weight="bold", va="top")
    return _svg(figure, key, f"accuracy of each judge: {title}", tight=False)


def histogram(right: Sequence[float], wrong: Sequence[float], key: str) -> str:
    """How often the trained model gives each score to right and to wrong answers."""
    figure, axes = _axes(7.0, 2.7)
    low, high = min((*right, *wrong)), max((*right, *wrong))
    edges = (low, high) if low < high else (low - 0.5, low + 0.5)
    for scores, colour, name in ((right, MAIN, "right answers"), (wrong, OTHER, "wrong answers")):
        axes.hist(
            scores,
            bins=BINS,
            range=edges,
            color=colour,
            alpha=0.45,
            histtype="stepfilled",
            edgecolor=colour,
            label=name,
        )
    legend = axes.legend(frameon=False, fontsize=9.5, loc="upper left", labelcolor=INK, borderaxespad=0.2)
    legend.set_zorder(3)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.set_xlabel("score of the trained model", color=SOFT)
    axes.set_ylabel("pairs", color=SOFT)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    return _svg(figure, key, "scores of right and wrong answers")


def lines(drawing: Drawing, label: str, key: str) -> str:
    """Lines with their intervals as bands; the last point of each is named, where names do not collide in a legend."""
    figure, axes = _axes(6.4, 3.6)
    scale = 100 if drawing.percent else 1
    count = max(1, len(drawing.lines))
    for place, (name, points) in enumerate(drawing.lines):
        x, y, low, high = (list(column) for column in zip(*points))
        y, low, high = ([scale * value for value in column] for column in (y, low, high))
        colour = MAIN if name in ("judge", "pairs") or count == 1 else (OTHER if place % 2 else SOFT)
        dashes = _DASHES[place % len(_DASHES)] if colour != MAIN else "-"
        width = 2.4 if colour == MAIN else 1.4
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=width, linestyle=dashes, marker="o", markersize=4, label=name)
    if drawing.diagonal:
        axes.plot([0.5, 1], [50, 100], color=LINE, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
    if drawing.log:
        ticks = sorted({point[0] for _, points in drawing.lines for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    elif drawing.diagonal:
        from matplotlib.ticker import AutoLocator

        axes.xaxis.set_major_locator(AutoLocator())
    title = f"{label}: {drawing.title}" if label else drawing.title
    axes.set_title(
        _plain(f"{title}, %" if drawing.percent else title), loc="left", color=INK, fontsize=11, weight="bold", pad=10
    )
    axes.set_xlabel(_plain(drawing.x), color=SOFT)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    if count > 1:
        axes.legend(
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            ncols=min(3, count),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18),
        )
    return _svg(figure, key, f"{title}: {drawing.y} over {drawing.x}")


_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 4)))


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """One pair of axes in inches; a Figure of its own, so that no global state of pyplot is touched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=9.5, length=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, axes


def _svg(figure: Figure, key: str, label: str, tight: bool = True) -> str:
    """The figure as an `<svg>` element whose ids begin with `key`, so that many can stand on one page."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        layout = {"bbox_inches": "tight", "pad_inches": 0.06} if tight else {}
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, **layout)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", text)
    text = re.sub(r'^<svg (.*?)width="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'^<svg (.*?)height="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _plain(text: str) -> str:
    """The text so that matplotlib reads no mathematics in it."""
    return text.replace("$", r"\$")


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - window] if place >= window else 0.0)
        means.append(total / min(place + 1, window))
    return means
