"""A plan's cost as bars: its operations beside those of plain forward and reverse mode, and what its steps move."""

from __future__ import annotations

from collections import Counter
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
    """Operations of the plan and of its alternatives; and the bytes that the plan moves, by the form of its steps.

    Bytes are known of the chosen plan alone. With `path` the figure is saved there too, in the format of its ending.
    """
    ways = {f"this plan ({plan.order})": plan.operations}
    ways.update({other.name: other.operations for other in plan.alternatives})
    moved: Counter[str] = Counter()
    for step in plan.working_steps:
        moved[step.form] += step.moved
    figure = new_figure(8, 1.8 + 0.32 * (len(ways) + len(moved)))
    upper, lower = figure.subplots(2, 1, height_ratios=(len(ways), max(len(moved), 1)))
    _bars(upper, ways, [OWN] + [OTHER] * (len(ways) - 1), [quantity(n) for n in ways.values()])
    upper.set(title=plan.title or "plan", xlabel="operations")
    _bars(lower, dict(moved), [BYTES] * len(moved), [memory(n) for n in moved.values()])
    lower.set(xlabel=f"bytes moved by this plan, by form of step (peak {memory(plan.peak)})")
    if path is not None:
        save(figure, path)
    return figure


def _bars(axes: Axes, numbers: dict[str, int], colours: list[str], told: list[str]) -> None:
    bars = axes.barh(list(numbers), list(numbers.values()), color=colours)
    axes.bar_label(bars, told, padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(numbers.values(), default=0) or 1)
    axes.spines[["top", "right"]].set_visible(False)
