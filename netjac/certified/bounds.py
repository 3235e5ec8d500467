"""Enclosures of a network's Jacobian over boxes, and the signs that they certify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.certified.enclosed import Ball, Enclosed
from netjac.certified.enclosed import line as new_line
from netjac.certified.forward import enclose, exact, handlers
from netjac.certified.interval import UNIT, Interval
from netjac.errors import NotDifferentiableError, RangeError, ShapeError, UnsupportedOperationError
from netjac.graph.program import Program
from netjac.jacobian import output_names
from netjac.memory import budget
from netjac.precision import precise
from netjac.progress import Progress, counted
from netjac.rules.independence import separate
from netjac.tracing import Point, meet, widened

HELD = 16
"""Arrays of (features, largest value) that live at a time, about."""
SHARE = 4
"""No more than this part of the memory budget is taken."""


def bounds(
    model: Any, x: Any, radius: Any, *, of: str = "output", memory: int | float | str | None = None,
    progress: Progress = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(lower, upper): lower ≤ `J[i, j](x′)` ≤ upper for every entry of the Jacobian and every x′ with |x′ − x| ≤ radius.

    `radius`: one number, or an array that broadcasts against one sample or all of x, in x's units. The arrays returned are in
    float64 and of layout (batch, *out, *in). `of` names an output or a layer. What is enclosed is the Jacobian of the network
    as a function of real numbers; at a kink, every slope between the two sides. An entry that nothing bounds is ±inf.

    Method: affine and interval arithmetic for values, with lines as in Zhang et al. (CROWN, 2018) and Singh et al. (DeepZ,
    2018), and midpoint-radius products of the chain's factors (Rump, INTLAB, 1999), rounded outward.

    Raises `RangeError` and `ShapeError` for a bad radius, `UnsupportedOperationError` naming an operation without a sound rule,
    and what `netjac.jacobian` raises.
    """
    lower, upper, _ = over_boxes(model, x, radius, of, memory, progress)
    return lower, upper


def monotone(model: Any, x: Any, radius: Any, **options: Any) -> np.ndarray:
    """+1 where an output certainly rises with a feature all over the box, −1 where it falls, 0 where neither is certified.

    (batch, *out, *in), int8; `options` are those of `bounds`. A derivative that touches zero in the box is not certified.
    """
    lower, upper = bounds(model, x, radius, **options)
    return (lower > 0).astype(np.int8) - (upper < 0).astype(np.int8)


def over_boxes(
    model: Any, x: Any, radius: Any, of: str, memory: Any = None, progress: Progress = None
) -> tuple[np.ndarray, np.ndarray, Boxes]:
    """`bounds`, and the boxes that they are of."""
    boxes = boxes_of(model, x, radius, of)
    size = boxes.run(memory)
    pieces = list(boxes.pieces(size))
    found = [boxes.enclosed(point, radii) for point, radii in counted(pieces, len(pieces), progress, "boxes")]
    count = boxes.count
    lower, upper = (np.concatenate(ends)[:count] for ends in zip(*found, strict=True))
    if not boxes.point.network.batched:
        lower, upper = lower[0], upper[0]
    return lower, upper, boxes


@dataclass(frozen=True, eq=False)
class Boxes:
    """A network at the middles of boxes, `radii` being of the input's own shape; all in float64."""

    point: Point
    radii: np.ndarray
    of: int

    @property
    def count(self) -> int:
        return self.point.samples if self.point.samples is not None else 1

    @property
    def features(self) -> int:
        shape = self.radii.shape
        return prod(shape[1:] if self.point.network.batched else shape)

    def run(self, memory: Any) -> int:
        """How many boxes are taken at a time."""
        program = self.point.traced.program
        widest = max(program.size(n) for n in range(len(program.types)) if program.differentiable(n))
        each = HELD * 8 * max(self.features, 1) * widest // max(self.count, 1)
        return max(1, min(self.count, budget(memory) // SHARE // max(each, 1)))

    def pieces(self, size: int) -> Iterator[tuple[Point, np.ndarray]]:
        """Runs of equal size, the last filled up by copies of the last box."""
        if size >= self.count or not self.point.network.batched or not self.point.apart(self.of):
            yield self.point, self.radii
            return
        x = np.asarray(self.point.arrays[0])
        for piece in range(ceil(self.count / size)):
            rows = np.minimum(np.arange(piece * size, (piece + 1) * size), self.count - 1)
            yield meet(self.point.network, x[rows]), self.radii[rows]

    def enclosed(self, point: Point, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends at one run, samples first."""
        program, batched = point.traced.program, point.network.batched
        number = point.traced.inputs[point.names[0]]
        bare, place = point.traced.kind.program, ("bounds", number, self.of, batched)
        run = point.traced.kind.once(place, lambda: jax.jit(_enclosure(bare, number, self.of, batched)))
        with precise(True), jax.default_device(jax.devices("cpu")[0]):
            lower, upper = (np.asarray(end) for end in run(point.arguments(), list(program.constants.values()), radii))
        out = program.shape(self.of)
        out, inn = (out[1:], radii.shape[1:]) if batched else (out, radii.shape)
        ends = (np.moveaxis(end if batched else end[:, None], 0, -1) for end in (lower, upper))
        lower, upper = (end.reshape((end.shape[0], *out, *inn)) for end in ends)
        return np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)


def boxes_of(model: Any, x: Any, radius: Any, of: str) -> Boxes:
    """Raises what `bounds` raises, before anything is computed."""
    point = widened(meet(model, x))
    program = point.traced.program
    names, _ = output_names(point, of)
    if len(names) != 1 or len(point.names) != 1:
        raise ShapeError(
            f"bounds are of one output by one input; this network has {', '.join(names)} by "
            f"{', '.join(point.names)}; name one output in of=, or close over the other inputs"
        )
    array = point.arrays[0]
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise NotDifferentiableError(f"input {point.names[0]!r} holds {array.dtype}; a box needs floating numbers")
    value = point.traced.value(names[0])
    if not program.differentiable(value):
        raise NotDifferentiableError(f"{names[0]!r} holds {program.dtype(value)}, which has no derivative")
    if (
        point.network.batched
        and not point.apart(value)
        and not separate(program, [point.traced.inputs[point.names[0]]], value)
    ):
        raise UnsupportedOperationError(f"{names[0]!r} mixes the samples of a batch; give one sample at a time")
    for index in program.needed([value]):
        for n in program.equations[index].results:
            if program.differentiable(n) and program.dtype(n) != jnp.float64:
                raise UnsupportedOperationError(
                    f"the operation {program.equations[index].name!r} computes in {program.dtype(n)}; bounds are of "
                    "networks that follow their input's float64"
                )
    return Boxes(point, _radii(radius, array.shape, point.network.batched), value)


def _radii(radius: Any, shape: tuple[int, ...], batched: bool) -> np.ndarray:
    """One radius for each entry of x. Raises `ShapeError`, `RangeError`."""
    try:
        given = np.asarray(radius, np.float64)
        radii = np.array(np.broadcast_to(given, shape))
    except (TypeError, ValueError) as error:
        sample = f"neither one sample, {shape[1:]}, nor x" if batched else "not x"
        raise ShapeError(
            f"radius of shape {np.shape(radius)} fits {sample}, {shape}; give a number or an array of such a shape"
        ) from error
    if not (np.isfinite(radii).all() and (radii >= 0).all()):
        bad = radii[~(np.isfinite(radii) & (radii >= 0))][0]
        raise RangeError(f"radius holds {bad}; give finite numbers, zero or above")
    return radii


def _enclosure(program: Program, number: int, of: int, batched: bool) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Arguments, constants and radii → the ends of the slopes of `of` by the input `number`, (features, *shape of `of`)."""
    found = handlers(program, program.needed([of]))

    def run(arguments: Any, constants: Any, radii: jax.Array) -> tuple[jax.Array, jax.Array]:
        given = {n: exact(a) for n, a in zip(program.inputs, arguments, strict=True)}
        given.update({n: exact(a) for n, a in zip(program.constants, constants, strict=True)})
        x = given[number].value.lo
        given[number] = _box(x, radii, batched)
        features = prod(x.shape[1:] if batched else x.shape)
        enclosed = enclose(program, found, given, features, of)
        if enclosed.slope is None:
            zero = jnp.zeros((features, *program.shape(of)))
            return zero, zero
        return tuple(enclosed.slope.interval)  # type: ignore[return-value]

    return run


def _box(x: jax.Array, radii: jax.Array, batched: bool) -> Enclosed:
    """The input over its box."""
    sample = x.shape[1:] if batched else x.shape
    features = prod(sample)
    along = jnp.eye(features).reshape((features, *((1,) if batched else ()), *sample))
    along = jnp.broadcast_to(along, (features, *x.shape))
    down, up = x - radii, x + radii
    value = Interval(down - 4 * UNIT * jnp.abs(down), up + 4 * UNIT * jnp.abs(up))
    return Enclosed(value, Ball(along, jnp.zeros_like(along)), new_line(x, jnp.zeros_like(x), along * radii))
