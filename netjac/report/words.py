"""A Jacobian in words, for the terminal and for notebooks. Reading it never computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netjac.linear_algebra import working
from netjac.plan.table import memory
from netjac.report import html

if TYPE_CHECKING:
    from netjac.operator import Jacobian

CORNER_ROWS, CORNER_COLUMNS = 4, 6
Fact = tuple[str, str]


def describe(J: Jacobian) -> str:
    """Title, shape, structure and, once computed, the size of the numbers and a corner of them, as lines of text."""
    facts = _facts(J)
    width = max(len(name) for name, _ in facts)
    indent = "\n" + " " * (width + 4)
    lines = [f"  {name.ljust(width)}  {told.replace(chr(10), indent)}" for name, told in facts]
    return "\n".join([title(J), *lines])


def describe_html(J: Jacobian) -> str:
    """The same as a table for notebooks, names escaped."""
    return html.facts(title(J), _facts(J))


def title(J: Jacobian) -> str:
    """ "Jacobian ∂output/∂input of 'digits'", as far as that is known."""
    names = names_of(J)
    if names is None:
        return "Jacobian ∂out/∂in"
    of, wrt, model = names
    return f"Jacobian ∂{of}/∂{wrt} of {model!r}"


def names_of(J: Jacobian) -> tuple[str, str, str] | None:
    """What is differentiated, by what, and the model's name; None where the Jacobian does not know."""
    context = J._source.context
    return None if context is None else (context.request.of[0], context.request.wrt[0], context.point.network.name)


def _facts(J: Jacobian) -> list[Fact]:
    entries = int(np.prod(J.shape, dtype=np.int64))
    facts = [
        ("shape", f"{_tuple(J.shape)}: {_sides(J)}"),
        ("dtype", f"{J.dtype.name}, {memory(entries * J.dtype.itemsize)} when written out"),
        ("structure", str(J.structure)),
    ]
    if J._dense is None:
        return [
            *facts,
            ("numbers", "not computed yet; np.asarray(J) computes them, J @ v and u @ J do without"),
            ("more", _more(J)),
        ]
    return [*facts, *_numbers(J), ("more", _more(J))]


def _more(J: Jacobian) -> str:
    known = J._source.context is not None
    ways = ["J.plan", "J.check()"] if known else []
    return ", ".join([*ways, "J.norm(2)", "J.svd()", "J.plot()"])


def _tuple(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _sides(J: Jacobian) -> str:
    sides = f"out {_tuple(J.out_shape)}, in {_tuple(J.in_shape)}"
    if J.batch is None:
        return sides
    return f"{J.batch} sample{'' if J.batch == 1 else 's'}, {sides}"


def _numbers(J: Jacobian) -> list[Fact]:
    matrices = working(J._matrix())
    if not matrices.size:
        return [("numbers", "there are none")]
    stack = matrices.reshape((-1, *matrices.shape[-2:]))
    norms = np.array([np.linalg.norm(matrix.ravel()) for matrix in stack])
    low, high = norms.min(), norms.max()
    told = (
        f"Frobenius norm {low:.4g}" if len(norms) == 1 else f"Frobenius norm {low:.4g} to {high:.4g} over the samples"
    )
    bad = int(stack.size - np.count_nonzero(np.isfinite(stack)))
    told += f"; {bad} of {stack.size} entries are not finite" if bad else "; all finite"
    corner = stack[0, :CORNER_ROWS, :CORNER_COLUMNS]
    return [("numbers", told), ("corner" if J.batch is None else "sample 0", _corner(corner, stack.shape[1:]))]


def _corner(corner: np.ndarray, size: tuple[int, ...]) -> str:
    cells = [[f"{value:.3g}" for value in row] for row in corner]
    width = max(len(cell) for row in cells for cell in row)
    wide, tall = size[1] > corner.shape[1], size[0] > corner.shape[0]
    lines = ["  ".join(cell.rjust(width) for cell in row) + ("  …" if wide else "") for row in cells]
    return "\n".join([*lines, *(["…".rjust(width)] if tall else [])])
