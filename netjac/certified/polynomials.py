"""Sums, differences and products: lines and slopes move as they are, and what a product is off its line is known exactly.

They are most of a network's equations. A general curve (see `netjac.certified.curves`) would find no more of them with several
times the operations, which is what compiling takes its time for. Of two values in m ± r and n ± s

    x y = n x + m y − m n + (x − m)(y − n), the last in ±r s,   x² = 2 m x − m² + (x − m)², the last in [0, r²]

    (2 d + 1 ± 0.1) − (2 d ± 0.2) = 1 ± 0.3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from netjac.certified.enclosed import Ball, Enclosed, Line, settled
from netjac.certified.enclosed import line as new_line
from netjac.certified.interval import (
    ROUNDED,
    TINY,
    UNIT,
    Interval,
    add,
    divide,
    magnitude,
    multiply,
    reciprocal,
    subtract,
    widened,
)  # fmt: skip

SUMS = frozenset({"add", "add_any", "sub"})


def polynomial(name: str, operands: Sequence[Enclosed], parameters: dict[str, Any]) -> Enclosed | None:
    """The enclosure of a sum or product of its operands; None where it is neither, or nothing depends on the input."""
    moving = [o.slope is not None or o.line is not None for o in operands]
    if name in SUMS and any(moving):
        return _sum(operands, name == "sub")
    if name == "div" and moving == [True, False]:
        return _scaled(operands[0], reciprocal(operands[1].value), divide(operands[0].value, operands[1].value))
    if name == "mul" and sum(moving) == 1:
        x, factor = operands if moving[0] else operands[::-1]
        return _scaled(x, factor.value, multiply(x.value, factor.value))
    if name == "mul" and all(moving):
        return _product(*operands)
    if (name == "square" or (name == "integer_pow" and parameters["y"] == 2)) and moving[0]:
        return _square(operands[0])
    if name == "neg" and moving[0]:
        return _negative(operands[0])
    return None


def _sum(operands: Sequence[Enclosed], minus: bool) -> Enclosed:
    a, b = operands
    value = (subtract if minus else add)(a.value, b.value)
    if minus:
        b = _negative(b)
    shape = value.lo.shape
    slopes = [_full(o.slope, shape) for o in (a, b) if o.slope is not None]
    lines = [_laid(o, shape) for o in (a, b)]
    slope = None
    if slopes:
        slope = slopes[0]
        for other in slopes[1:]:
            slope = _plus(slope, other)
    (centre, error, along), (other_centre, other_error, other_along) = lines
    if along is None or other_along is None:
        along = other_along if along is None else along
        rounding = 0.0
    else:
        along, rounding = along + other_along, UNIT
    if along is None:
        return settled(value, slope, None)
    return settled(value, slope, _rounded(centre + other_centre, error + other_error, along, rounding))


def _scaled(x: Enclosed, factor: Interval, value: Interval) -> Enclosed:
    shape = value.lo.shape
    mid = factor.mid
    rad = None if factor.exact else factor.rad
    slope = None if x.slope is None else _times(_full(x.slope, shape), mid, rad)
    if x.line is None:
        return settled(value, slope, None)
    centre, error, along = _laid(x, shape)
    assert along is not None
    spread = error * jnp.abs(mid)
    if rad is not None:
        spread = spread + (error + jnp.abs(centre) + x.line.reach) * rad
    return settled(value, slope, _rounded(centre * mid, spread * (1 + 2 * ROUNDED), along * mid, UNIT))


def _product(x: Enclosed, y: Enclosed) -> Enclosed:
    value = multiply(x.value, y.value)
    shape = value.lo.shape
    (m, r), (n, t) = ((v.value.mid, v.value.rad) for v in (x, y))
    slopes = [_times(_full(v.slope, shape), by, by_rad) for v, by, by_rad in ((x, n, t), (y, m, r)) if v.slope]
    slope = slopes[0] if slopes else None
    for other in slopes[1:]:
        slope = _plus(slopes[0], other)
    (centre, error, along), (other_centre, other_error, other_along) = (_laid(v, shape) for v in (x, y))
    moved = [a * by for a, by in ((along, n), (other_along, m)) if a is not None]
    if not moved:
        return settled(value, slope, None)
    size_x, size_y = (jnp.abs(v.value.mid) + v.value.rad if v.line is None
                      else jnp.abs(v.line.centre) + v.line.error + v.line.reach for v in (x, y))  # fmt: skip
    spread = error * jnp.abs(n) + other_error * jnp.abs(m) + r * t
    rounding = 8 * UNIT * (size_x * jnp.abs(n) + size_y * jnp.abs(m) + jnp.abs(m * n))
    middle = centre * n + other_centre * m - m * n
    return settled(value, slope, _rounded(middle, spread + rounding, sum(moved[1:], start=moved[0]), 4 * UNIT))


def _square(x: Enclosed) -> Enclosed:
    m, r = x.value.mid, x.value.rad
    least, most = magnitude(x.value)
    value = widened(least * least, most * most)
    slope = None if x.slope is None else _times(x.slope, 2 * m, 2 * r)
    if x.line is None:
        return settled(value, slope, None)
    centre, error, along, reach = x.line
    half = 0.5 * r * r
    rounding = 8 * UNIT * (2 * jnp.abs(m) * (jnp.abs(centre) + error + reach) + m * m + half)
    middle = 2 * m * centre - m * m + half
    return settled(value, slope, _rounded(middle, 2 * jnp.abs(m) * error + half + rounding, 2 * m * along, 4 * UNIT))


def _times(slope: Ball, mid: jax.Array, rad: jax.Array | None) -> Ball:
    """All products of two balls."""
    new, size = slope.mid * mid, jnp.abs(mid)
    spread = slope.rad * size + UNIT * jnp.abs(new)
    if rad is not None:
        spread = spread + (jnp.abs(slope.mid) + slope.rad) * rad
    return Ball(new, spread * (1 + 2 * ROUNDED) + TINY)


def _plus(a: Ball, b: Ball) -> Ball:
    mid = a.mid + b.mid
    return Ball(mid, (a.rad + b.rad + UNIT * jnp.abs(mid)) * (1 + ROUNDED) + TINY)


def _rounded(centre: jax.Array, error: jax.Array, along: jax.Array, rounding: float) -> Line:
    """A line of which every number is off by a rounding."""
    found = new_line(centre, error, along)
    error = (error + UNIT * jnp.abs(centre) + rounding * found.reach) * (1 + 2 * ROUNDED) + TINY
    return found._replace(error=error)


def _negative(x: Enclosed) -> Enclosed:
    low = -x.value.hi
    value = Interval(low, low if x.value.exact else -x.value.lo)
    slope = None if x.slope is None else Ball(-x.slope.mid, x.slope.rad)
    line = None if x.line is None else x.line._replace(centre=-x.line.centre, along=-x.line.along)
    return Enclosed(value, slope, line)


def _full(slope: Ball, shape: tuple[int, ...]) -> Ball:
    return Ball(*(_ranked(part, shape) for part in slope))


def _ranked(part: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """With the features first and repeated to a value of this shape."""
    inner = part.shape[1:]
    part = part.reshape((part.shape[0], *(1,) * (len(shape) - len(inner)), *inner))
    return jnp.broadcast_to(part, (part.shape[0], *shape))


def _laid(x: Enclosed, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    if x.line is None:
        mid = x.value.mid
        return _repeated(mid, shape), jnp.zeros(shape) if x.value.exact else _repeated(x.value.rad, shape), None
    return _repeated(x.line.centre, shape), _repeated(x.line.error, shape), _ranked(x.line.along, shape)


def _repeated(a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(a, shape)
