"""Sensitivities in words and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from netjac.errors import ShapeError, UnknownNameError
from netjac.report.html import facts
from netjac.report.plots import as_images, image_maps, largest, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netjac.analysis.sensitivity_result import Sensitivity

KINDS = ("bars", "plane", "density", "maps")
UNITS = {None: "output per feature", "std": "output per standard deviation of the feature",
         "range": "output per range of the feature"}  # fmt: skip
ABOVE, BELOW, UNSURE, PLAIN = "#b2182b", "#2166ac", "#a0a0a0", "#4d4d4d"
MOST_PANELS, MOST_BARS, MOST_DENSITIES, MOST_LABELS = 6, 20, 12, 8
FEWEST_KEPT = 10


def describe(s: Sensitivity) -> str:
    """What was computed, and the features that matter most, as lines of text."""
    facts = _facts(s)
    wide = max(len(name) for name, _ in facts)
    return "\n".join([_title(s), *(f"  {name.ljust(wide)}  {told}" for name, told in facts)])


def describe_html(s: Sensitivity) -> str:
    """The same as a table for notebooks, names escaped."""
    return facts(_title(s), _facts(s))


def top(s: Sensitivity, output: int, most: int) -> list[str]:
    """The features that move an output most, with the rms and the signed mean of the derivative."""
    names = dict(zip(s.feature_names, s.mean[output], strict=True))
    return [f"{name} {rms:.4g} (mean {names[name]:+.4g})" for name, rms in s.ranking(output, "rms")[:most]]


def plot(
    s: Sensitivity, kind: str | None = None, output: int | str | None = None, by: str | None = None,
    path: str | Path | None = None,
) -> Figure:  # fmt: skip
    """A picture of sensitivities; None: "maps" for images, else "bars".

    "bars": features by rank, the largest first, with intervals; red moves the output up on average, blue down, grey where that
    is not certain. "plane": mean against standard deviation; a feature far to the side acts linearly, one high up acts
    differently from sample to sample, dashed arcs have equal rms. "density": the derivative over samples, feature by feature,
    with a stroke at the mean. "maps": the input image, one map for each output.

    `output`: one (name or number), or None: up to six. `by`: the statistic of bars ("rms") or maps ("mean"). With `path` the
    figure is saved there too. Raises `UnknownNameError`, `ShapeError`.
    """
    if kind not in (None, *KINDS):
        raise UnknownNameError.of("kind of plot", str(kind), KINDS)
    image = len(s.in_shapes) == 1 and as_images(s.mean, s.in_shapes[0]) is not None
    kind = kind or ("maps" if image else "bars")
    if not s.mean.size:
        raise ShapeError(f"{len(s.output_names)} outputs and {len(s.feature_names)} features leave nothing to show")
    if kind == "maps":
        figure = _maps(s, output, by or "mean")
    else:
        outputs = range(len(s.output_names))[:MOST_PANELS] if output is None else [s.output(output)]
        figure = _panels(s, kind, outputs, by or "rms")
    if path is not None:
        save(figure, path)
    return figure


def _title(s: Sensitivity) -> str:
    return f"Sensitivity of {s.of!r} of {s.model!r} over {s.count:,} sample{'' if s.count == 1 else 's'}"


def _facts(s: Sensitivity) -> list[tuple[str, str]]:
    m, n = len(s.output_names), len(s.feature_names)
    facts = [
        ("shape", f"{m} output{'' if m == 1 else 's'} × {n} feature{'' if n == 1 else 's'}"),
        ("unit", UNITS[s.scale]),
        ("bound", str(s.bound)),
        ("intervals", f"{s.confidence:.0%}, by bootstrap" if s.confidence else "none kept"),
    ]
    for i in range(min(m, 3)):
        facts.append((s.output_names[i], "by rms: " + ", ".join(top(s, i, 3)) + (" …" if n > 3 else "")))
    return facts if m <= 3 else [*facts, ("…", f"{m - 3} more outputs; .table(), .ranking(output), .plot()")]


def _maps(s: Sensitivity, output: int | str | None, by: str) -> Figure:
    maps = as_images(s.statistic(by), s.in_shapes[0]) if len(s.in_shapes) == 1 else None
    if maps is None:
        raise ShapeError(f"inputs of shape {', '.join(map(str, s.in_shapes))} are no images; use 'bars' or 'plane'")
    chosen = list(range(len(maps)))[:MOST_BARS] if output is None else [s.output(output)]
    title = f"{by} of the derivative over {s.count:,} samples"
    return image_maps(maps[chosen], title, [s.output_names[i] for i in chosen])


def _panels(s: Sensitivity, kind: str, outputs: Sequence[int], by: str) -> Figure:
    columns = min(len(outputs), 3)
    rows = ceil(len(outputs) / columns)
    shown = {"bars": MOST_BARS, "density": MOST_DENSITIES}.get(kind, 12)
    height = 1.6 + 0.26 * min(shown, len(s.feature_names)) if kind != "plane" else 4.2
    figure = new_figure(max(5.2, 4.4 * columns), height * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    draw = {"bars": _bars, "plane": _plane, "density": _density}[kind]
    for axes, i in zip(grid.flat, outputs, strict=False):
        draw(axes, s, i, by)
        axes.set_title(s.output_names[i], fontsize=10)
    for axes in list(grid.flat)[len(outputs) :]:
        axes.set_axis_off()
    more = len(s.output_names) - len(outputs)
    figure.suptitle(_title(s) + (f" ({more} more outputs)" if more and len(outputs) > 1 else ""), fontsize=11)
    return figure


def _bars(axes: Axes, s: Sensitivity, output: int, by: str) -> None:
    ranked = [name for name, _ in s.ranking(output, by)[:MOST_BARS]]
    chosen = [s.feature_names.index(name) for name in ranked]
    values, places = s.statistic(by)[output, chosen], np.arange(len(chosen))
    axes.barh(places, values, color=_colours(s, output)[chosen], height=0.7)
    if s.confidence is not None:
        low, high = (end[output, chosen] for end in s.interval(by))
        axes.hlines(places, low, high, color="black", linewidth=1.2)
    axes.set_yticks(places, ranked)
    axes.invert_yaxis()
    axes.axvline(0, color=PLAIN, linewidth=0.8)
    axes.set_xlabel(_label(s, by), fontsize=9)
    left = len(s.feature_names) - len(chosen)
    if left:
        axes.text(0.98, 0.02, f"{left} more", transform=axes.transAxes, ha="right", va="bottom", fontsize=9)


def _colours(s: Sensitivity, output: int) -> np.ndarray:
    """Which way each feature moves the output on average; grey where the interval of the mean has both."""
    low, high = (s.mean, s.mean) if s.confidence is None else s.interval("mean")
    return np.where(low[output] > 0, ABOVE, np.where(high[output] < 0, BELOW, UNSURE))


def _label(s: Sensitivity, by: str) -> str:
    if by == "dgsm_bound":
        return "bound of the total Sobol index"
    return f"{by} of ∂output/∂feature" + ("" if s.scale is None else f" × {s.scale}")


def _plane(axes: Axes, s: Sensitivity, output: int, by: str) -> None:
    means, stds, rms = s.mean[output], s.std[output], s.rms[output]
    end, height = 1.15 * largest(rms), 1.25 * largest(stds)
    angle = np.linspace(0, np.pi, 181)
    for radius in np.linspace(0, end, 9)[1:]:
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), "--", color="0.85", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.scatter(means, stds, c=_colours(s, output), s=22)
    for j in np.argsort(-rms)[:MOST_LABELS]:
        axes.annotate(s.feature_names[j], (means[j], stds[j]), (4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlim=(-end, end), ylim=(-0.04 * height, height))
    axes.set_xlabel(_label(s, "mean"), fontsize=9)
    axes.set_ylabel("standard deviation", fontsize=9)


def _density(axes: Axes, s: Sensitivity, output: int, by: str) -> None:
    if len(s.derivatives) < FEWEST_KEPT:
        raise ShapeError(
            f"only {len(s.derivatives)} samples' derivatives are kept, too few for a density; use 'bars' or 'plane'"
        )
    ranked = [name for name, _ in s.ranking(output, by)[:MOST_DENSITIES]]
    chosen = [s.feature_names.index(name) for name in ranked]
    own = s.kept[:, output][:, chosen]
    end = largest(own)
    edges = np.linspace(-end, end, 100)
    middle = edges[:-1] + np.diff(edges) / 2
    for place, column in enumerate(own.T):
        counts = np.histogram(column, edges)[0]
        ridge = place + 0.45 - 0.85 * counts / max(counts.max(), 1)
        for side, colour in ((middle >= 0, ABOVE), (middle <= 0, BELOW)):
            axes.fill_between(middle[side], place + 0.45, ridge[side], color=colour, linewidth=0, step="mid")
    axes.vlines(
        s.mean[output, chosen], np.arange(len(chosen)) - 0.4, np.arange(len(chosen)) + 0.45, "black", linewidth=2
    )
    axes.set(xlim=(-end, end), ylim=(len(chosen) - 0.5, -0.5))
    axes.set_yticks(np.arange(len(chosen)), ranked)
    axes.axvline(0, color=PLAIN, linewidth=0.8)
    axes.set_xlabel("∂output/∂feature" + ("" if s.scale is None else f" × {s.scale}"), fontsize=9)
