"""Pictures of how a share grows with a size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from netjac.errors import ShapeError
from netjac.report.plots import new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by the colour-blind, and in grey by their markers.
LINES = ("#b2182b", "#2166ac", "#e08214", "#1b7837", "#762a83")
MARKERS = "osD^v"


class Measured(Protocol):
    """A share (k,) at each size (k,) of a norm, and what it is called."""

    @property
    def name(self) -> str: ...
    @property
    def norm(self) -> float: ...
    @property
    def epsilons(self) -> np.ndarray: ...
    @property
    def success(self) -> np.ndarray: ...
    @property
    def samples(self) -> int: ...


def plot_curves(curves: Sequence[Measured], path: str | Path | None = None) -> Figure:
    """Success over ε, one line for each curve, all of one norm; saved to `path` if one is given. Raises `ShapeError`."""
    norms = {curve.norm for curve in curves}
    if len(norms) != 1:
        raise ShapeError("curves of several norms have no common axis; plot those of each norm by themselves")
    norm = norms.pop()
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        axes.plot(
            curve.epsilons, 100 * curve.success, color=LINES[place % len(LINES)], marker=MARKERS[place % len(MARKERS)],
            markersize=4, linewidth=1.6, label=curve.name,
        )  # fmt: skip
    axes.set(
        xlabel="ε in " + ("L∞" if np.isinf(norm) else f"L{norm:g}"),
        ylabel=f"% of {max(curve.samples for curve in curves):,} samples",
        title="Adversarial examples within ε",
        ylim=(-2, 102),
    )
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    if path is not None:
        save(figure, path)
    return figure
