"""Pictures of a Jacobian by matplotlib: figures without global state, colours centred at zero."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.errors import ShapeError
from netjac.linear_algebra import working
from netjac.report.words import names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netjac.operator import Jacobian

COLOURS = "RdBu_r"
MOST_MAPS = 20
LEAST_IMAGE = 4


def plot_jacobian(J: Jacobian, sample: int = 0, path: str | Path | None = None) -> Figure:
    """One sample's Jacobian: a heat map of its m × n matrix, or, by an image, one map of the image for each output.

    Images are inputs of shape (h, w), (h, w, 1 or 3) or (1 or 3, h, w); colours are added up. With `path` the figure is
    saved there too. Raises `ShapeError` where there is no such sample or no entry to show.
    """
    matrix = _matrix_of(J, sample)
    maps = as_images(matrix, J.in_shape)
    title = _title(J, sample)
    figure = heat_map(matrix, title) if maps is None or len(maps) > MOST_MAPS else image_maps(maps, title)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _matrix_of(J: Jacobian, sample: int) -> np.ndarray:
    count = 1 if J.batch is None else J.batch
    if not -count <= sample < count:
        raise ShapeError(f"there is no sample {sample}: this Jacobian has {count}, numbered 0 to {count - 1}")
    if not np.prod(J.shape):
        raise ShapeError(f"a Jacobian of shape {J.shape} has no entries to show")
    matrices = working(J._matrix())
    return matrices if J.batch is None else matrices[sample]


def _title(J: Jacobian, sample: int) -> str:
    names = names_of(J)
    what = "∂out/∂in" if names is None else f"∂{names[0]}/∂{names[1]} of {names[2]}"
    return what if J.batch is None else f"{what}, sample {sample}"


def as_images(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """(m, h, w), colours added up, where the input is an image; else None."""
    shaped = matrix.reshape((-1, *shape))
    if len(shape) == 3 and shape[-1] in (1, 3):
        shaped = shaped.sum(-1)
    elif len(shape) == 3 and shape[0] in (1, 3):
        shaped = shaped.sum(1)
    return shaped if shaped.ndim == 3 and min(shaped.shape[1:]) >= LEAST_IMAGE else None


def heat_map(matrix: np.ndarray, title: str) -> Figure:
    """The matrix as it is written: outputs downwards, inputs to the right."""
    height = min(8.0, max(2.4, 1.4 + 8 * matrix.shape[0] / max(matrix.shape[1], 1)))
    figure = new_figure(9, height)
    axes = figure.subplots()
    image = signed(axes, matrix, largest(matrix), aspect="auto")
    axes.set(title=title, xlabel="input", ylabel="output")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if matrix.shape[0] <= MOST_MAPS:
        axes.set_yticks(range(matrix.shape[0]))
    figure.colorbar(image, ax=axes, label="∂out/∂in")
    return figure


def image_maps(maps: np.ndarray, title: str, names: Sequence[str] | None = None) -> Figure:
    """One map of the input for each output, all with one scale."""
    columns = min(len(maps), 5)
    rows = ceil(len(maps) / columns)
    figure = new_figure(2 * columns + 1.2, 2.2 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    top = largest(maps)
    for place, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if place < len(maps):
            image = signed(axes, maps[place], top)
            axes.set_title(names[place] if names else f"output {place}", fontsize=10)
    figure.colorbar(image, ax=grid, label="∂out/∂in", shrink=0.8)
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


def signed(axes: Axes, values: np.ndarray, top: float, aspect: str = "equal") -> Any:
    """A map of signed values, zero in white; entries that are not finite stay grey."""
    axes.set_facecolor("0.6")
    return axes.imshow(values, cmap=COLOURS, vmin=-top, vmax=top, aspect=aspect, interpolation="nearest")
