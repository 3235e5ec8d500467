"""Pictures of a Jacobian by matplotlib: figures without global state, colours centred at zero."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netjac.errors import ShapeError, UnknownNameError
from netjac.linear_algebra import working
from netjac.report.words import names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netjac.operator import Jacobian

# Blue to red through white: told apart by the colour-blind too.
COLOURS = "RdBu_r"
KINDS = ("matrix", "images", "spy", "spectrum")
DOTS = "#2166ac"
MEDIAN = "#b35806"
MOST_MAPS = 20
MOST_LINES = 200
MOST_VECTORS = 20_000
LEAST_IMAGE = 4


def plot_jacobian(J: Jacobian, sample: int = 0, kind: str | None = None, path: str | Path | None = None) -> Figure:
    """One sample's Jacobian: a heat map of its m × n matrix, or, by an image, one map of the image for each output.

    `kind`: "matrix", "images", "spy" (where entries can be other than zero: those of `to_scipy`, and no dense array where J is
    sparse), "spectrum" (the singular values of all samples, `sample` marked), or None (images where the input is one and there
    are few outputs). Images are inputs of shape (h, w), (h, w, 1 or 3) or (1 or 3, h, w); colours are added up. With `path` the
    figure is saved there too, in the format of its ending.

    Raises `ShapeError` where there is no such sample, no entry to show, or no image; `UnknownNameError` for another kind.
    """
    if kind not in (None, *KINDS):
        raise UnknownNameError.of("kind of plot", str(kind), KINDS)
    names = names_of(J)
    of, wrt = ("out", "in") if names is None else names[:2]
    title = f"∂{of}/∂{wrt}" + ("" if names is None else f" of {names[2]}")
    title += "" if J.batch is None else f", sample {sample}"
    if kind in ("spy", "spectrum"):
        figure = spy(J, sample, title, of, wrt) if kind == "spy" else spectrum(J, sample, title)
    else:
        figure = _entries(J, sample, kind, title, of, wrt)
    if path is not None:
        save(figure, path)
    return figure


def _entries(J: Jacobian, sample: int, kind: str | None, title: str, of: str, wrt: str) -> Figure:
    matrix = matrix_of(J, sample)
    maps = None if kind == "matrix" else as_images(matrix, J.in_shape)
    if kind == "images" and maps is None:
        raise ShapeError(f"an input of shape {J.in_shape} is no image; leave kind out, or give 'matrix'")
    if maps is None or (kind is None and len(maps) > MOST_MAPS):
        return heat_map(matrix, title, of, wrt)
    return image_maps(maps, title, [f"{of} {i}" for i in range(len(maps))])


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure to a file. Raises `ShapeError` for a format that matplotlib does not know."""
    known = figure.canvas.get_supported_filetypes()
    ending = Path(path).suffix.lstrip(".").lower()
    if ending not in known:
        raise ShapeError(f"{str(path)!r} has no ending of a picture; give one of {', '.join(sorted(known))}")
    figure.savefig(path, dpi=150)


def matrix_of(J: Jacobian, sample: int) -> np.ndarray:
    _refuse_nothing(J, sample)
    matrices = working(J._matrix())
    return matrices if J.batch is None else matrices[sample]


def spy(J: Jacobian, sample: int, title: str, of: str, wrt: str) -> Figure:
    """Where one sample's entries can be other than zero, as dots."""
    _refuse_nothing(J, sample)
    pattern = (J if J.batch is None else J[sample]).to_scipy().tocoo()
    m, n = pattern.shape
    figure = new_figure(6.4, min(9.0, max(3.0, 1.4 + 5 * m / max(n, 1))))
    axes = figure.subplots()
    axes.plot(
        pattern.col, pattern.row, linestyle="", marker="s", markersize=max(0.3, min(6.0, 260 / max(m, n))), color=DOTS
    )
    axes.set(xlim=(-0.5, n - 0.5), ylim=(m - 0.5, -0.5), xlabel=f"entry of {wrt}", ylabel=f"entry of {of}")
    axes.set_title(f"{title}: {pattern.nnz:,} of {m * n:,} entries ({pattern.nnz / (m * n):.2%})", fontsize=11)
    if pattern.nnz > MOST_VECTORS:
        axes.lines[0].set_rasterized(True)
    return figure


def spectrum(J: Jacobian, sample: int, title: str) -> Figure:
    """Singular values, largest first, on a logarithmic axis: of one sample, before those of the others and their median.

    Zeros have no place on the axis; the title says how many of the sample's values are left out.
    """
    _refuse_nothing(J, sample)
    found = np.atleast_2d(np.asarray(J.singular_values(), np.float64))
    own, number = found[sample], np.arange(1, found.shape[1] + 1)
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    shown = np.where(found > 0, found, np.nan)
    if len(found) > 1:
        axes.plot(number, shown.T[:, :MOST_LINES], color="0.75", linewidth=0.8, zorder=1)
        axes.plot(
            number, np.median(found, 0), color=MEDIAN, linestyle="--", label=f"median of {len(found)} samples", zorder=2
        )
    axes.plot(number, shown[sample], color=DOTS, marker="o", markersize=4, label=f"sample {sample}", zorder=3)
    zeros = np.count_nonzero(own == 0)
    condition = own[0] / own[-1] if own[-1] else np.inf
    told = f"σ₁ = {own[0]:.3g}, σ₁/σₖ = {condition:.3g}".replace("inf", "∞") + (f", {zeros} zero" if zeros else "")
    axes.set_title(f"{title}: {told}", fontsize=11)
    if np.any(found > 0):
        axes.set_yscale("log")
    axes.set(xlabel="number", ylabel="singular value")
    axes.spines[["top", "right"]].set_visible(False)
    if len(found) > 1:
        axes.legend(frameon=False)
    if len(number) <= MOST_MAPS:
        axes.set_xticks(number)
    return figure


def _refuse_nothing(J: Jacobian, sample: int) -> None:
    """Raises `ShapeError` where there is no such sample, or no entry."""
    count = 1 if J.batch is None else J.batch
    if not -count <= sample < count:
        raise ShapeError(f"there is no sample {sample}: this Jacobian has {count}, numbered 0 to {count - 1}")
    if not np.prod(J.shape):
        raise ShapeError(f"a Jacobian of shape {J.shape} has no entries to show")


def as_images(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """(m, h, w), colours added up, where the input is an image; else None."""
    shaped = matrix.reshape((-1, *shape))
    if len(shape) == 3 and shape[-1] in (1, 3):
        shaped = shaped.sum(-1)
    elif len(shape) == 3 and shape[0] in (1, 3):
        shaped = shaped.sum(1)
    return shaped if shaped.ndim == 3 and min(shaped.shape[1:]) >= LEAST_IMAGE else None


def heat_map(matrix: np.ndarray, title: str, of: str = "output", wrt: str = "input") -> Figure:
    """The matrix as it is written: outputs downwards, inputs to the right."""
    height = min(8.0, max(2.4, 1.4 + 8 * matrix.shape[0] / max(matrix.shape[1], 1)))
    figure = new_figure(9, height)
    axes = figure.subplots()
    image = signed(axes, matrix, largest(matrix), aspect="auto")
    axes.set(title=title, xlabel=f"entry of {wrt}", ylabel=f"entry of {of}")
    for axis, size in ((axes.xaxis, matrix.shape[1]), (axes.yaxis, matrix.shape[0])):
        if size <= MOST_MAPS:
            axis.set_ticks(range(size))
    figure.colorbar(image, ax=axes, label=f"∂{of}/∂{wrt}")
    return figure


def image_maps(maps: np.ndarray, title: str, names: Sequence[str], picture: np.ndarray | None = None) -> Figure:
    """One map of the input for each output, all with one scale; before them, if given, the `picture` itself."""
    panels = len(maps) + (picture is not None)
    columns = min(panels, 5 if panels <= 10 else 6)
    rows = ceil(panels / columns)
    figure = new_figure(2 * columns + 1.2, 2.2 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    places = list(grid.flat)
    if picture is not None:
        shown = places.pop(0)
        shown.imshow(picture, cmap="gray_r", interpolation="nearest")
        shown.set_title("the input", fontsize=10)
    top = largest(maps)
    for axes, entries, name in zip(places, maps, names, strict=False):
        image = signed(axes, entries, top)
        axes.set_title(name, fontsize=10)
    figure.colorbar(image, ax=grid, label="derivative", shrink=0.8)
    figure.suptitle(title)
    return figure


def class_maps(images: np.ndarray, labels: np.ndarray, maps: np.ndarray, title: str) -> Figure:
    """For each class over its own images: the mean image, and the root mean square and mean of its output's derivative.

    `images` (samples, h, w), `labels` (samples,), `maps` (samples, classes, h, w).
    """
    classes = np.unique(labels)
    own = [maps[labels == c, c] for c in classes]
    means, sizes = [of.mean(0) for of in own], [np.sqrt(np.mean(of**2, 0)) for of in own]
    figure = new_figure(1.3 * len(classes) + 2.2, 5.4)
    grid = figure.subplots(3, len(classes), squeeze=False)
    top = largest(np.stack(sizes))
    for k, c in enumerate(classes):
        grid[0, k].imshow(images[labels == c].mean(0), cmap="gray_r", interpolation="nearest")
        grid[0, k].set_title(f"{c}", fontsize=11)
        strength = grid[1, k].imshow(sizes[k], cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
        mean = signed(grid[2, k], means[k], largest(np.stack(means)))
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(("mean image", "how much\n(rms)", "which way\n(mean)")):
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    figure.colorbar(strength, ax=grid[1], shrink=0.9, pad=0.01)
    figure.colorbar(mean, ax=grid[2], shrink=0.9, pad=0.01)
    figure.suptitle(title)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """A figure that pyplot knows nothing of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def largest(values: np.ndarray) -> float:
    """The end of a scale centred at zero: the largest finite magnitude, 1 where all is zero."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0)) or 1.0


def signed(axes: Axes, values: np.ndarray, top: float, aspect: Literal["equal", "auto"] = "equal") -> Any:
    """A map of signed values, zero in white; entries that are not finite stay grey."""
    axes.set_facecolor("0.6")
    return axes.imshow(values, cmap=COLOURS, vmin=-top, vmax=top, aspect=aspect, interpolation="nearest")
