"""A plan's cost as bars: operations and bytes beside plain forward and reverse mode, and what its steps move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from netjac.plan.table import memory, quantity
from netjac.report.plots import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netjac.plan.plan import Plan

# Okabe and Ito's colours, told apart by the colour-blind too.
OWN, OTHER, BYTES = "#0072B2", "0.6", "#E69F00"


def plot_plan(plan: Plan, path: str | Path | None = None) -> Figure:
    """Operations, bytes moved and peak of the plan and of its alternatives; and what it moves by the form of its steps.

    With `path` the figure is saved there too, in the format of its ending.
    """
    every = (plan.as_alternative(f"this plan ({plan.order})"), *plan.alternatives)
    names, colours = [way.name for way in every], [OWN] + [OTHER] * len(plan.alternatives)
    moved: Counter[str] = Counter()
    for step in plan.working_steps:
        moved[step.form] += step.moved
    figure = new_figure(11, 1.8 + 0.32 * (len(every) + len(moved)))
    upper, lower = figure.subfigures(2, 1, height_ratios=(len(every) + 1, len(moved) + 1), squeeze=False).flat
    parts = upper.subplots(1, 3, sharey=True)
    _bars(parts[0], names, [way.operations for way in every], colours, quantity)
    _bars(parts[1], names, [way.moved for way in every], colours, memory)
    _bars(parts[2], names, [way.peak for way in every], colours, memory)
    for axes, label in zip(parts, ("operations", "bytes moved", "peak bytes of factors"), strict=True):
        axes.set(xlabel=label)
    parts[0].invert_yaxis()
    upper.suptitle(plan.title or "plan", fontsize=11)
    below = lower.subplots()
    _bars(below, list(moved), list(moved.values()), [BYTES] * len(moved), memory)
    below.invert_yaxis()
    below.set(xlabel="bytes moved by this plan, by form of step")
    if path is not None:
        save(figure, path)
    return figure


def _bars(axes: Axes, names: list[str], numbers: list[int], colours: list[str], words: Callable[[float], str]) -> None:
    bars = axes.barh(names, numbers, color=colours)
    axes.bar_label(bars, [words(n) for n in numbers], padding=3, fontsize=9)
    axes.set_xlim(0, 1.3 * max(numbers, default=0) or 1)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
