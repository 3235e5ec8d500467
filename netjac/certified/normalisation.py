"""Values divided by their own root mean square over a box: layer, group, instance and RMS norm, however they are written.

With z = c / σ, σ² = k Σ c_j² + ε (k = 1/n, and c = x − mean(x) where the mean is taken off), every z_i rises with c_i and falls
in size with what the others are: its range over a box is at two corners. It is below 1/√k, and below √(n − 1) where Σ c = 0.
Behind slopes g_j of c (Shi et al., Robustness verification for transformers, 2020, bound it part by part)

    ∂z_i = ((1 − k z_i²) g_i − z_i Σ_{j≠i} k z_j g_j) / σ,   |∂z_i| ≤ √(1 − k z_i²) ‖g‖ / σ,

the latter as I − k zzᵀ has eigenvalues in [0, 1].

    c ∈ [1, 2] × [1, 2], k = 1/2, ε = 0: z_1 = √2 / √(1 + c_2²/c_1²) ∈ [0.632, 1.265]
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from netjac.certified.enclosed import Ball, Enclosed, ball, settled
from netjac.certified.grouping import grouping, ungrouping
from netjac.certified.interval import (
    TINY,
    UNIT,
    Interval,
    around,
    gamma,
    magnitude,
    meet,
    multiply,
    reciprocal,
    subtract,
    widened,
)
from netjac.certified.polynomials import polynomial


@dataclass(frozen=True)
class Scale:
    """σ² = factor · Σ c² + more, the sum over `axes`; `factor` an interval of numbers. `centred`: Σ c = 0."""

    axes: tuple[int, ...]
    factor: tuple[float, float]
    more: float
    centred: bool


@dataclass(frozen=True)
class Norm:
    """c / σ: `x` is c, or c = x − `mean`; `inverse` is the value 1/σ, or σ where `divided`, of size 1 along the axes."""

    scale: Scale
    x: int
    mean: int | None
    inverse: int
    divided: bool


def normalised(norm: Norm, c: Enclosed, inverse: Interval, plain: Enclosed) -> Enclosed:
    """c / σ, met with what its equations one by one have given, `plain`."""
    scale, shape = norm.scale, c.value.lo.shape
    group, back = grouping(shape, scale.axes), ungrouping(shape, scale.axes)
    entries = Interval(group(c.value.lo), group(c.value.hi))
    z = meet(Interval(group(plain.value.lo), group(plain.value.hi)), _values(scale, entries))
    slope = plain.slope
    if c.slope is not None and slope is not None:
        over = reciprocal(inverse) if norm.divided else inverse
        over = meet(Interval(*(end.reshape((-1, 1)) for end in over)), _inverse(scale, entries))
        found = _slopes(scale, z, Ball(*map(group, c.slope)), over)
        slope = ball(meet(slope.interval, Interval(*map(back, found))))
    return settled(Interval(back(z.lo), back(z.hi)), slope, plain.line)


def spread_out(
    norm: Norm, x: Enclosed, mean: Enclosed, inverse: Enclosed, gain: Enclosed | None, shift: Enclosed | None,
    plain: Enclosed,
) -> Enclosed:  # fmt: skip
    """((x − mean) / σ) · gain + shift, met with `plain`, which has it as x · s + (shift − mean · s)."""
    c = polynomial("sub", [x, mean], {})
    if c is None:  # nothing depends on the input
        return plain
    found = polynomial("mul", [c, inverse], {})
    assert found is not None
    found = normalised(norm, c, inverse.value, found)
    for name, other in (("mul", gain), ("add", shift)):
        if other is not None:
            found = polynomial(name, [found, other], {})
            assert found is not None
    slope = found.slope
    if slope is not None and plain.slope is not None:
        slope = ball(meet(plain.slope.interval, slope.interval))
    return settled(meet(plain.value, found.value), slope, found.line)


def _values(scale: Scale, c: Interval) -> Interval:
    """(rows, n)."""
    n = c.lo.shape[1]
    g = 2 * gamma(n)
    least, most = (m * m for m in magnitude(c))
    all_least, all_most = (m.sum(-1, keepdims=True) for m in (least, most))
    fewest = jnp.maximum(all_least - least - g * all_least, 0.0)
    largest = all_most - most + g * all_most
    bounded = scale.centred and n > 1

    def at(c: jax.Array, far: bool) -> jax.Array:
        """z for a c_i when the others are as large, or as small, as can be."""
        square = c * c
        others = largest if far else fewest
        if bounded and not far:
            others = jnp.maximum(others, square / (n - 1) * (1 - 8 * UNIT))
        factor = scale.factor[1] if far else scale.factor[0]
        return jnp.where(c == 0, 0.0, jnp.sign(c) / jnp.sqrt(factor + (factor * others + scale.more) / square))

    low = jnp.where(c.lo > 0, at(c.lo, True), at(c.lo, False))
    high = jnp.where(c.hi < 0, at(c.hi, True), at(c.hi, False))
    return widened(low, high, 64 * UNIT)


def _inverse(scale: Scale, c: Interval) -> Interval:
    """1 / σ, (rows, 1). Of squares that are summed nothing is lost to rounding but what they are."""
    g = 2 * gamma(c.lo.shape[1])
    squares = (m * m for m in magnitude(c))
    least, most = (total.sum(-1, keepdims=True) for total in squares)
    low, high = scale.factor[0] * least * (1 - g) + scale.more, scale.factor[1] * most * (1 + g) + scale.more
    return widened(1 / jnp.sqrt(high), 1 / jnp.sqrt(low), 64 * UNIT)


def _slopes(scale: Scale, z: Interval, c: Ball, inverse: Interval) -> Interval:
    """(features, rows, n)."""
    n = z.lo.shape[1]
    g = 2 * gamma(n)
    k = Interval(*map(jnp.asarray, scale.factor))
    square = Interval(*(m * m for m in magnitude(z)))
    share = multiply(k, square)
    own = Interval(jnp.maximum(1 - share.hi - 4 * UNIT, 0.0), jnp.minimum(1 - share.lo + 4 * UNIT, 1.0))
    mids = z.mid * c.mid
    size = jnp.abs(z.mid) + z.rad
    rads = size * c.rad + z.rad * jnp.abs(c.mid)
    sizes = (jnp.abs(mids) + rads).sum(-1, keepdims=True)
    rest = around(
        mids.sum(-1, keepdims=True) - mids, jnp.maximum(rads.sum(-1, keepdims=True) - rads, 0.0) + g * sizes + TINY
    )
    found = subtract(multiply(own, c.interval), multiply(z, multiply(k, rest)))
    length = jnp.sqrt(jnp.square(jnp.abs(c.mid) + c.rad).sum(-1, keepdims=True)) * (1 + g)
    most = jnp.sqrt(own.hi) * length * (1 + 8 * UNIT) + TINY
    return multiply(inverse, meet(found, Interval(-most, most)))
