"""What is known of one value of a network all over a box: where it lies, where its slopes lie, and a line along it.

With d_j = (x'_j − x_j) / r_j in [−1, 1] the place in a box of radii r, every entry y of the value has

    y ∈ [lo, hi],   ∂y/∂x_j ∈ [mid_j − rad_j, mid_j + rad_j],   y ∈ centre + Σ_j along_j d_j ± error.

The line is what keeps the connection between entries that interval arithmetic forgets: of x − x it knows that it is zero. It is
a forward linear relaxation (Zhang et al., CROWN, 2018; with one line for both sides as in Singh et al., DeepZ, 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from netjac.certified.interval import UNIT, Interval, around, gamma, meet


class Ball(NamedTuple):
    """All numbers no further than `rad` from `mid`."""

    mid: jax.Array
    rad: jax.Array

    @property
    def interval(self) -> Interval:
        return around(self.mid, self.rad)


class Line(NamedTuple):
    """`along` has the features as axis 0, `reach` = Σ_j |along_j|; the others are of the value's shape."""

    centre: jax.Array
    error: jax.Array
    along: jax.Array
    reach: jax.Array

    @property
    def interval(self) -> Interval:
        return around(self.centre, (self.error + self.reach) * (1 + 4 * UNIT))


class Enclosed(NamedTuple):
    """`slope` has the features as axis 0. What does not depend on the input has neither slope nor line."""

    value: Interval
    slope: Ball | None = None
    line: Line | None = None


def ball(interval: Interval) -> Ball:
    return Ball(interval.mid, interval.rad)


def line(centre: jax.Array, error: jax.Array, along: jax.Array) -> Line:
    reach = jnp.abs(along).sum(0) * (1 + gamma(along.shape[0]))
    return Line(centre, error, along, reach)


def flat(value: Interval, features: int) -> Line:
    """The line of a value of which nothing else is known."""
    mid = value.mid
    return Line(mid, value.rad, jnp.zeros((features, *mid.shape)), jnp.zeros_like(mid))


def settled(value: Interval, slope: Ball | None, found: Line | None) -> Enclosed:
    """The value's interval narrowed to where the line is; a line that is nowhere finite is made flat."""
    if found is None:
        return Enclosed(value, slope)
    value = meet(value, found.interval)
    if found.along.shape[0] == 0:
        return Enclosed(value, slope, found)
    finite = jnp.isfinite(found.centre + found.error + found.reach)
    plain = flat(value, found.along.shape[0])
    kept = (jnp.where(finite, a, b) for a, b in zip(found, plain, strict=True))
    return Enclosed(value, slope, Line(*kept))
