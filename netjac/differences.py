"""Central differences in float64: the oracle that knows nothing of derivatives.

    D(h) = (f(x + h e_j) − f(x − h e_j)) / 2h,   h = ε^(1/3) · max(1, |x_j|)

At a kink (a relu at 0, a tie in a max-pool) the slopes to the right and to the left differ however small the step, and
every number between them is a derivative that some framework gives. Such entries are recognised and counted apart: the
gap between the slopes stays when the step is halved, where for a smooth function it halves too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.precision import precise
from netjac.tracing import Point, widened
from netjac.vectors import Sides

LASTING = 0.75
ROUNDING = 16


@dataclass(frozen=True, eq=False)
class Slopes:
    """Difference quotients along entry j of the input, each of the shape (batch?, m); `noise` is their rounding error."""

    central: np.ndarray
    finer: np.ndarray
    left: np.ndarray
    right: np.ndarray
    gap: np.ndarray
    noise: np.ndarray

    def error(self, column: np.ndarray) -> np.ndarray:
        """How far a column of J is from the nearer quotient, beyond rounding."""
        far = np.minimum(np.abs(column - self.central), np.abs(column - self.finer)) - self.noise
        return np.where(np.isnan(far), np.inf, np.maximum(far, 0))

    def kinks(self, column: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """Where the slopes on both sides differ and J is one of them or lies between."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        between = (column >= low - slack - self.noise) & (column <= high + slack + self.noise)
        now = high - low
        lasting = (now > LASTING * self.gap) & (now > 100 * (slack + self.noise))
        missed = (self.error(column) > slack) & (now > slack + self.noise)
        return between & (lasting | missed)


class Differences:
    """Difference quotients of one value of a network by another, at a point."""

    def __init__(self, point: Point, of: str, wrt: str, sides: Sides) -> None:
        self._point = wide = widened(point)
        self._sides = sides
        program, value = wide.traced.program, wide.traced.value
        self._of, self._wrt = value(of), value(wrt)
        self.dtype = np.dtype(program.dtype(self._wrt))
        needed = program.needed([self._of, self._wrt])
        constants = list(program.constants.values())
        with precise(True), jax.default_matmul_precision("highest"):
            arguments = wide.arguments()
            known = program.evaluate(arguments, constants, needed)
            self._start = np.asarray(known[self._wrt])
            self._value = np.asarray(known[self._of], np.float64)
            moved = jax.jit(lambda a, c, v: jnp.asarray(program.evaluate(a, c, needed, {self._wrt: v})[self._of]))
        self._moved: Callable[[np.ndarray], jax.Array] = lambda v: moved(arguments, constants, v)

    def along(self, entries: np.ndarray) -> Slopes:
        """The quotients along flat entries of the input: one for each sample, or a single one where all move together."""
        lead = self._sides.lead if not self._sides.shared and self._sides.batch is not None else ()
        flat = self._start.reshape((*lead, self._sides.n))
        place: Any = (np.arange(lead[0]), entries) if lead else entries
        step = np.finfo(self.dtype).eps ** (1 / 3) * np.maximum(1, np.abs(flat[place]))
        wide, near = self._sided(flat, place, step), self._sided(flat, place, step / 2)
        eps = float(np.finfo(self.dtype).eps)
        largest = np.abs(self._value).reshape((*self._sides.lead, self._sides.m)).max(-1, initial=0)
        noise = np.expand_dims(ROUNDING * eps * largest / step, -1)
        shape = near[0].shape
        return Slopes(
            (wide[0] + wide[1]) / 2,
            (near[0] + near[1]) / 2,
            near[0],
            near[1],
            np.abs(wide[1] - wide[0]),
            np.broadcast_to(noise, shape),
        )

    def _sided(self, flat: np.ndarray, place: Any, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The slopes to the left and to the right, (batch?, m)."""
        up, down = flat.copy(), flat.copy()
        up[place] += step.astype(flat.dtype)
        down[place] -= step.astype(flat.dtype)
        taken = (up - flat)[place], (flat - down)[place]
        rows = (*self._sides.lead, self._sides.m)
        with precise(True), jax.default_matmul_precision("highest"):
            above, below = (
                np.asarray(self._moved(moved.reshape(self._start.shape)), np.float64).reshape(rows)
                for moved in (up, down)
            )
        here = self._value.reshape(rows)
        return (here - below) / np.expand_dims(taken[1], -1), (above - here) / np.expand_dims(taken[0], -1)
