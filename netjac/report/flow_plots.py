"""Pictures of gradient flow: singular values and their root mean square over depth, and over training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.report.plots import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netjac.analysis.flow.monitor import History
    from netjac.analysis.flow.result import Flow
    from netjac.analysis.flow.spectrum import FlowThresholds, Spectrum

# Okabe and Ito's colours, told apart by the colour-blind too; marks differ as well.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.5"
MOST_NAMES = 24


def plot_flow(flow: Flow, path: str | Path | None = None) -> Figure:
    """Over depth: the spectrum of each layer's own Jacobian, that of ∂output/∂layer, their rms, and units without gradient.

    Bands hold all singular values, the middle half of them is darker, the line is their median. Zeros are left out on the
    logarithmic scale. With `path` the figure is saved there too, in the format of its ending.
    """
    units = any(layer.dead is not None or layer.saturated is not None for layer in flow.layers)
    figure = new_figure(9, 9 if units else 7.4)
    rows = figure.subplots(4 if units else 3, 1, sharex=True)
    names = [layer.name for layer in flow.layers]
    _bands(rows[0], [layer.own for layer in flow.layers], BLUE)
    rows[0].set(ylabel="σ of ∂layer/∂inputs", title=f"Gradient flow of {flow.model}: {flow.verdict}")
    _bands(rows[1], [layer.through for layer in flow.layers], ORANGE)
    rows[1].set(ylabel=f"σ of ∂{flow.of}/∂layer")
    _norms(rows[2], flow)
    if units:
        _units(rows[3], flow)
    _name_layers(rows[-1], names)
    if path is not None:
        save(figure, path)
    return figure


def plot_history(history: History, path: str | Path | None = None) -> Figure:
    """Over training: the rms of ∂output/∂layer by layer and step, and the shares of dead and saturated units.

    White is 1, blue is smaller (vanishing), red larger (exploding); grey is zero or not finite.
    """
    figure = new_figure(9, 7)
    rows = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    steps = np.array([record.step for record in history.records])
    grid = history.grid("rms").T
    _over_steps(figure, rows[0], steps, grid, history.layers)
    rows[0].set(title=f"∂{history.of}/∂layer of {history.model} over training")
    for name, colour, mark in (("dead", BLUE, "o"), ("saturated", ORANGE, "s")):
        shares = history.grid(name)
        if np.isfinite(shares).any():
            with np.errstate(invalid="ignore"):
                rows[1].plot(
                    steps, np.nanmean(shares[:, np.isfinite(shares).any(0)], 1), color=colour, marker=mark, label=name
                )
    if rows[1].lines:
        rows[1].legend()
    rows[1].set(xlabel="training step", ylabel="share of units", ylim=(-0.02, 1.02))
    if path is not None:
        save(figure, path)
    return figure


def _over_steps(figure: Figure, axes: Axes, steps: np.ndarray, grid: np.ndarray, names: Sequence[str]) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.where((grid > 0) & np.isfinite(grid), np.log10(grid), np.nan)
    top = max(1.0, float(np.nanmax(np.abs(powers), initial=0)) if np.isfinite(powers).any() else 1.0)
    axes.set_facecolor("0.6")
    edges = np.arange(len(names) + 1) - 0.5
    image = axes.pcolormesh(_edges(steps), edges, powers, cmap="RdBu_r", vmin=-top, vmax=top)
    axes.invert_yaxis()
    step = max(1, -(-len(names) // MOST_NAMES))
    axes.set_yticks(range(0, len(names), step), [names[i] for i in range(0, len(names), step)], fontsize=8)
    figure.colorbar(image, ax=axes, label="log₁₀ rms σ")


def _edges(steps: np.ndarray) -> np.ndarray:
    """The borders between steps, so that each record's column lies about its step."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[steps[0] - (middle[0] - steps[0])], middle, [steps[-1] + (steps[-1] - middle[-1])]])


def _bands(axes: Axes, spectra: Sequence[Spectrum | None], colour: str) -> None:
    quantiles = np.full((5, len(spectra)), np.nan)
    for place, spectrum in enumerate(spectra):
        if spectrum is None:
            continue
        values = spectrum.singular_values
        values = values[np.isfinite(values) & (values > spectrum.resolution[:, None])]
        if values.size:
            quantiles[:, place] = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    places = np.arange(len(spectra))
    axes.fill_between(places, quantiles[0], quantiles[4], color=colour, alpha=0.2, linewidth=0)
    axes.fill_between(places, quantiles[1], quantiles[3], color=colour, alpha=0.35, linewidth=0)
    axes.plot(places, quantiles[2], color=colour, marker="o", markersize=3)
    _logarithmic(axes, quantiles)


def _norms(axes: Axes, flow: Flow) -> None:
    """Root mean squares, beside the bounds of vanishing and exploding."""
    series = (("own", "∂layer/∂inputs", BLUE, "o"), ("through", f"∂{flow.of}/∂layer", ORANGE, "s"))
    shown = []
    for which, name, colour, mark in series:
        spectra: list[Any] = [getattr(layer, which) for layer in flow.layers]
        values = np.array([np.nan if s is None or s.rms <= 0 else s.rms for s in spectra])
        axes.plot(values, color=colour, marker=mark, markersize=3, label=name)
        shown.append(values)
    _bounds(axes, flow.thresholds)
    _logarithmic(axes, np.concatenate([*shown, [flow.thresholds.vanishing, flow.thresholds.exploding]]))
    axes.set_ylabel("rms σ")
    axes.legend(fontsize=8, loc="best")


def _bounds(axes: Axes, thresholds: FlowThresholds) -> None:
    axes.axhline(thresholds.vanishing, color=GREY, linestyle="--", linewidth=1, label="vanishing below")
    axes.axhline(thresholds.exploding, color=GREY, linestyle=":", linewidth=1, label="exploding above")


def _units(axes: Axes, flow: Flow) -> None:
    for which, colour, mark in (("dead", GREEN, "o"), ("saturated", BLUE, "s")):
        shares = [getattr(layer, which) for layer in flow.layers]
        if any(share is not None for share in shares):
            numbers = [np.nan if share is None else share for share in shares]
            axes.plot(numbers, color=colour, marker=mark, markersize=3, label=which)
    axes.set(ylabel="share of units", ylim=(-0.02, 1.02))
    axes.legend(fontsize=8, loc="best")


def _logarithmic(axes: Axes, values: np.ndarray) -> None:
    """A scale that shows at least a factor of 10 on both sides of 1."""
    finite = values[np.isfinite(values) & (values > 0)]
    axes.set_yscale("log")
    axes.set_ylim(min(0.1, finite.min(initial=1)) / 1.5, max(10, finite.max(initial=1)) * 1.5)
    axes.axhline(1, color=GREY, linewidth=0.8)


def _name_layers(axes: Axes, names: Sequence[str]) -> None:
    step = max(1, -(-len(names) // MOST_NAMES))
    places = range(0, len(names), step)
    axes.set_xticks(places, [names[i] for i in places], rotation=60, ha="right", fontsize=8)
