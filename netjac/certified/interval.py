"""Intervals of arrays, rounded outward: [lo, hi] holds the exact real result of every operation on what the operands hold.

Nothing switches the processor's rounding mode, which XLA would not respect. Results are widened instead, by a bound known
beforehand of what rounding can have done: k roundings in a row leave a relative error below γ_k = k u / (1 − k u), with
u = 2⁻⁵³, relative to the sum of the terms' magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1 and
§3.5), whatever the order of the sum. Elementary functions are taken to be right to `FUNCTION`, which the tests hold against
multiple precision.

    [1, 2] · [−3, 1] = [−6, 2], written down as [−6 − 1.4e-15, 2 + 4.5e-16]
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

UNIT = 2.0**-53
ROUNDED = 4 * UNIT
"""What covers one or two roundings of a result."""
FUNCTION = 64 * UNIT
"""The error of exp, tanh, … relative to the larger of their value and, for what is at most 1, their scale."""
TINY = 1e-300
"""More than what underflow loses in any sum here."""


class Interval(NamedTuple):
    """Lower and upper ends, of equal shapes; `hi is lo` where the numbers are known exactly."""

    lo: jax.Array
    hi: jax.Array

    @property
    def exact(self) -> bool:
        return self.hi is self.lo

    @property
    def mid(self) -> jax.Array:
        return self.lo if self.exact else 0.5 * self.lo + 0.5 * self.hi

    @property
    def rad(self) -> jax.Array:
        """At least the distance of either end from `mid`."""
        mid = self.mid
        return jnp.maximum(self.hi - mid, mid - self.lo) * (1 + ROUNDED) + UNIT * jnp.abs(mid)


def gamma(terms: int) -> float:
    """A bound of γ_k for a sum of `terms` products that is itself computed with a few roundings."""
    k = terms + 4
    return 1.01 * k * UNIT / (1 - k * UNIT)


def widened(lo: jax.Array, hi: jax.Array, by: float | jax.Array = ROUNDED, scale: float = 0.0) -> Interval:
    """[lo, hi] with both ends moved out by the relative error `by`, of magnitudes of at least `scale`; infinite ends stay."""
    more, less = 1 + by, 1 - by
    low, high = jnp.minimum(lo * more, lo * less), jnp.maximum(hi * more, hi * less)
    if scale:
        low, high = jnp.minimum(low, lo - scale * by), jnp.maximum(high, hi + scale * by)
    return Interval(low - TINY, high + TINY)


def around(mid: jax.Array, rad: jax.Array) -> Interval:
    return widened(mid - rad, mid + rad)


def hull(a: Interval, b: Interval) -> Interval:
    return Interval(jnp.minimum(a.lo, b.lo), jnp.maximum(a.hi, b.hi))


def meet(a: Interval, b: Interval) -> Interval:
    """What both hold; an end that is no number is taken from the other."""
    return Interval(jnp.fmax(a.lo, b.lo), jnp.fmin(a.hi, b.hi))


def add(a: Interval, b: Interval) -> Interval:
    return widened(a.lo + b.lo, a.hi + b.hi)


def subtract(a: Interval, b: Interval) -> Interval:
    return widened(a.lo - b.hi, a.hi - b.lo)


def multiply(a: Interval, b: Interval) -> Interval:
    return spanned([x * y for x in _ends(a) for y in _ends(b)])


def spanned(corners: list[jax.Array], by: float = ROUNDED) -> Interval:
    """From the least to the largest of arrays that are wrong by as much as `by`."""
    return widened(_least(corners), _most(corners), by)


def divide(a: Interval, b: Interval) -> Interval:
    """All numbers where `b` holds zero."""
    return multiply(a, reciprocal(b))


def reciprocal(b: Interval) -> Interval:
    sound = (b.lo > 0) | (b.hi < 0)
    lo, hi = jnp.where(sound, 1 / b.hi, -jnp.inf), jnp.where(sound, 1 / b.lo, jnp.inf)
    return widened(lo, hi)


def magnitude(a: Interval) -> tuple[jax.Array, jax.Array]:
    """The smallest and the largest |x|."""
    most = jnp.maximum(jnp.abs(a.lo), jnp.abs(a.hi))
    inside = (a.lo <= 0) & (a.hi >= 0)
    return jnp.where(inside, 0.0, jnp.minimum(jnp.abs(a.lo), jnp.abs(a.hi))), most


def constant(value: float, like: jax.Array) -> Interval:
    full = jnp.full(like.shape, value)
    return Interval(full, full)


def _ends(a: Interval) -> tuple[jax.Array, ...]:
    return (a.lo,) if a.exact else (a.lo, a.hi)


def _least(arrays: list[jax.Array]) -> jax.Array:
    found = arrays[0]
    for array in arrays[1:]:
        found = jnp.minimum(found, array)
    return found


def _most(arrays: list[jax.Array]) -> jax.Array:
    return -_least([-array for array in arrays])
