"""A Jacobian's rows beside reverse mode, its columns beside differences: where they differ most, and by how much.

Errors are relative to the norm of what is compared of a sample. Places are (batch?, i, j).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from netjac.differences import Differences
from netjac.operator import Jacobian
from netjac.precision import precise
from netjac.vectors import Sides, columns

Where = tuple[int, ...] | None
Pull = Callable[[np.ndarray], np.ndarray]
Sweep = Callable[[str, np.ndarray], np.ndarray]
ROWS = 8
COLUMNS = 4
PRODUCTS = 2
# A sample whose Jacobian is this much smaller than the largest is compared at this scale.
LEAST_SCALE = 1e-3


@dataclass(frozen=True, eq=False)
class Entries:
    """A Jacobian's entries in float64: from its dense array, or (`matrix` None) by sweeps, when that would be too large.

    With `together` one sweep holds a row or column of every sample; else rows are numbered over all samples.
    """

    sides: Sides
    matrix: np.ndarray | None
    sweep: Sweep

    @classmethod
    def of(cls, J: Jacobian, sweep: Sweep, most: int) -> Entries:
        sides = J._sides
        if np.prod(J.shape, dtype=np.float64) * 8 > most and J._dense is None:
            return cls(sides, None, sweep)
        with precise(J.dtype == np.float64):
            return cls(sides, J._matrix().astype(np.float64), sweep)

    @property
    def together(self) -> bool:
        return self.sides.batch is not None and not self.sides.shared

    @property
    def lead(self) -> tuple[int, ...]:
        return self.sides.lead if self.together else ()

    @property
    def count(self) -> int:
        """How many rows there are, of each sample or in all."""
        return self.sides.m if self.together else prod(self.sides.lead) * self.sides.m

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        """(batch?, k, n)."""
        if self.matrix is not None:
            return self.matrix.reshape((*self.lead, self.count, self.sides.n))[..., chosen, :]
        found = [self.sweep("pull", self.cotangent(i)).reshape((*self.lead, self.sides.n)) for i in chosen]
        return np.stack(found, -2)

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """(batch?, m, k): for `chosen` (k, batch) the entries of each sample, for (k,) the same of all."""
        sides = self.sides
        if self.matrix is not None:
            index = chosen.T[:, None, :] if self.together else chosen
            return np.take_along_axis(self.matrix, index, -1) if self.together else self.matrix[..., index]
        found = [self.sweep("push", self._tangent(j)).reshape((*sides.lead, sides.m)) for j in chosen]
        return np.stack(found, -1)

    def cotangent(self, i: int) -> np.ndarray:
        seed = np.zeros((*self.lead, self.count), self.sides.dtype)
        seed[..., i] = 1
        return self.shaped(seed)

    def shaped(self, u: np.ndarray) -> np.ndarray:
        """A vector over rows, (batch?, count), as a cotangent of the output's shape."""
        return u.reshape((*self.sides.lead, *self.sides.out)).astype(self.sides.dtype)

    def _tangent(self, j: np.ndarray) -> np.ndarray:
        if not self.together:
            return columns(self.sides, np.atleast_1d(j))[0]
        seed = np.zeros((*self.lead, self.sides.n), self.sides.dtype)
        seed[np.arange(len(seed)), j] = 1
        return seed.reshape(self.sides.tangent_shape)

    def place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """(batch?, row, j) → (batch?, i, j) with rows numbered within a sample."""
        if self.together or self.sides.batch is None:
            return index
        row, j = index
        return row // self.sides.m, row % self.sides.m, j

    def index(self, where: Where) -> Where:
        """(batch?, i, j) as an index into an array of the shape of J."""
        if where is None:
            return None
        *before, i, j = where
        inside = (*np.unravel_index(i, self.sides.out), *np.unravel_index(j, self.sides.inn))
        return (*before, *(int(k) for k in inside))


def sweeps(context: Any) -> Sweep:
    """J·v and uᵀJ by single sweeps of the traced network, one vector at a time."""

    def sweep(direction: str, vector: np.ndarray) -> np.ndarray:
        with precise(context.point.wide):
            return np.asarray(context.sweep((0, 0), direction, jnp.asarray(vector)[None])[0]).astype(np.float64)

    return sweep


def against_rows(own: Entries, pull: Pull, draw: np.random.Generator) -> tuple[float, Where]:
    """The largest relative error of rows drawn at random beside the oracle's."""
    if not own.count * own.sides.n * prod(own.lead):
        return 0.0, None
    chosen = np.sort(draw.choice(own.count, min(own.count, ROWS), replace=False))
    expected = np.stack([pull(own.cotangent(i)).reshape((*own.lead, own.sides.n)) for i in chosen], -2)
    found = own.rows(chosen)
    largest, where = _largest(_relative(np.abs(found - expected), _scale(found, expected)))
    assert where is not None
    *before, k, j = where
    return largest, own.place((*before, int(chosen[k]), j))


def against_products(own: Entries, pull: Pull, draw: np.random.Generator, limit: float) -> tuple[float, Where]:
    """The largest error of uᵀJ for random signs u, in which every entry of J has a part, relative to its column's norm.

    Where it is over the limit, the row at fault is found by halving the rows that u takes in; else there is no place.
    """
    if own.matrix is None or not own.matrix.size:
        return 0.0, None
    rows = own.matrix.reshape((*own.lead, own.count, own.sides.n))
    norms = np.sqrt(np.sum(np.square(rows), -2))
    scale = np.maximum(norms, _scale(rows, rows)[..., 0, :] / np.sqrt(own.sides.n))
    worst: tuple[float, Where] = (0.0, None)
    for _ in range(PRODUCTS):
        signs = draw.choice(np.array([-1.0, 1.0]), (*own.lead, own.count))

        def error(taken: np.ndarray, signs: np.ndarray = signs) -> np.ndarray:
            u = np.where(taken, signs, 0)
            found = np.einsum("...i,...ij->...j", u, rows)
            return _relative(np.abs(found - pull(own.shaped(u)).reshape(found.shape)), scale)

        largest, where = _largest(error(np.ones(own.count, bool)))
        if largest > worst[0] and where is not None:
            row = _row(own.count, error, where) if largest > limit else None
            worst = largest, None if row is None else own.place((*where[:-1], row, where[-1]))
    return worst


def _row(count: int, error: Callable[[np.ndarray], np.ndarray], where: tuple[int, ...]) -> int:
    """The row whose error is in the products at `where`."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        every = np.arange(count)
        lower, upper = (error((every >= a) & (every < b))[where] for a, b in ((low, middle), (middle, high)))
        low, high = (low, middle) if lower >= upper else (middle, high)
    return low


def against_columns(
    own: Entries, differences: Differences, samples: int, draw: np.random.Generator, limit: float
) -> tuple[float, Where, int, int]:
    """The largest relative error of columns drawn at random, its place, entries compared, and those at a kink."""
    sides = own.sides
    if not own.count * sides.n * prod(own.lead):
        return 0.0, None, 0, 0
    count = min(sides.n, max(COLUMNS, ceil(samples / (sides.m * prod(sides.lead)))))
    drawn = [draw.choice(sides.n, count, replace=False) for _ in range(prod(own.lead))]
    chosen = np.moveaxis(np.array(drawn).reshape((*own.lead, count)), -1, 0)
    found = own.columns(chosen)
    slopes = [differences.along(j) for j in chosen]
    scale = _scale(found, np.stack([s.central for s in slopes], -1))
    errors, kinks = np.zeros_like(found), np.zeros(found.shape, bool)
    for k, s in enumerate(slopes):
        errors[..., k] = s.error(found[..., k])
        kinks[..., k] = s.kinks(errors[..., k], np.broadcast_to(limit * scale[..., 0], errors.shape[:-1]))
    largest, where = _largest(np.where(kinks, 0, _relative(errors, scale)))
    assert where is not None
    *before, k = where
    j = chosen[k, before[0]] if own.together else chosen[k]
    return largest, (*before, int(j)), found.size, int(kinks.sum())


def _scale(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """For each sample, the norm of what is compared: (batch?, 1, 1)."""
    finite = np.where(np.isfinite(found), found, 0), np.where(np.isfinite(expected), expected, 0)
    norms = np.maximum(*(np.sqrt(np.sum(np.square(a), axis=(-2, -1), keepdims=True)) for a in finite))
    floor = LEAST_SCALE * norms.max(initial=0)
    return np.maximum(norms, floor) if floor else np.ones_like(norms)


def _relative(error: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(error), np.inf, error / scale)


def _largest(error: np.ndarray) -> tuple[float, Where]:
    if not error.size:
        return 0.0, None
    where = np.unravel_index(int(error.argmax()), error.shape)
    return float(error[where]), tuple(int(i) for i in where)
