"""Central differences in float64: the oracle that knows nothing of derivatives.

    D(h) = (f(x + h e_j) − f(x − h e_j)) / 2h,   h = ε^(1/3) · max(1, |x_j|) · (8, 1, 1/8, 1/64)

At a kink (a relu at 0, a tie in a max-pool) the slopes to the right and to the left differ however small the step, and
every number between them is a derivative that some framework gives. Such entries are recognised and counted apart. For
a smooth function the gap between the two slopes is h·f″: it falls to an eighth from each step to the next. At a kink it
stays; beside one it vanishes at once or falls by another factor. Several steps are needed because a network in float32
decides on which side of a kink it is by rounded numbers, and may decide otherwise than the same network in float64.
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

STEPS = (8.0, 1.0, 1 / 8, 1 / 64)
# Of the falls of a gap from one step to the next, those that a smooth function (1/8) does not show.
LASTS, VANISHES = 1 / 2, 1 / 32
# How many units in the last place of the largest output one evaluation may be off.
ROUNDING = 16


@dataclass(frozen=True, eq=False)
class Slopes:
    """One-sided difference quotients along an entry of the input, (steps, batch?, m); `noise`: their rounding error."""

    left: np.ndarray
    right: np.ndarray
    noise: np.ndarray

    @property
    def central(self) -> np.ndarray:
        """The quotients at the step that is best for smooth functions."""
        return (self.left[1] + self.right[1]) / 2

    def error(self, column: np.ndarray) -> np.ndarray:
        """How far a column of J is from the nearest central quotient, beyond the rounding of a good step."""
        far = np.abs(column - (self.left + self.right) / 2)
        nearest = np.where(np.isnan(far), np.inf, far).min(0)
        return np.maximum(nearest - self.noise[1], 0)

    def kinks(self, error: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """Where the function has no single slope: by more than `slack`, or at all where J is off by a hundredth of that."""
        gap = np.abs(self.right - self.left)
        seen = gap > 10 * self.noise
        fall = gap[1:] / np.where(seen[:-1], gap[:-1], np.inf)
        lasting = seen[-1] & (fall[-1] > LASTS)
        uneven = seen[:-1] & ((fall > LASTS) | (fall < VANISHES))
        return np.where(error > slack / 100, lasting | uneven.any(0), lasting & (gap[-1] > slack))


class Differences:
    """Difference quotients of one value of a network by another, at a point."""

    def __init__(self, point: Point, of: str, wrt: str, sides: Sides) -> None:
        wide = widened(point)
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
        eps = float(np.finfo(self.dtype).eps)
        base = eps ** (1 / 3) * np.maximum(1, np.abs(flat[place]))
        sided = [self._sided(flat, place, base * scale) for scale in STEPS]
        largest = np.abs(self._value).reshape((*self._sides.lead, self._sides.m)).max(-1, initial=0)
        noise = [np.broadcast_to((ROUNDING * eps * largest / (base * k))[..., None], sided[0][0].shape) for k in STEPS]
        return Slopes(np.stack([left for left, _ in sided]), np.stack([right for _, right in sided]), np.stack(noise))

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
        return (here - below) / taken[1][..., None], (above - here) / taken[0][..., None]
