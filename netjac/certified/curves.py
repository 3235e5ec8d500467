"""Elementwise equations over a box: the value, its slopes by the chain rule, and the line that it is laid along.

A function with slopes in [s, S] all over [l, u], of one operand, is enclosed by any of

    λ x + f(mid) − λ mid ± rad(slopes) · rad(x)   with λ the slopes' middle (mean-value form)
    s x + [f(l) − s l, f(u) − s u]                as f(x) − s x never falls
    S x + [f(u) − S u, f(l) − S l]                as f(x) − S x never rises (Singh et al., DeepZ, 2018, §4)

and relu by the chord between its ends as well. The narrowest is taken, entry by entry. Of several operands the first one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from netjac.certified.elementwise import Ranges, Slopes, relu
from netjac.certified.enclosed import Ball, Enclosed, Line, settled
from netjac.certified.enclosed import line as new_line
from netjac.certified.interval import TINY, UNIT, Interval, hull, multiply, subtract, widened

ROUNDINGS = 16 * UNIT


def curve(rule: Ranges, operands: Sequence[Enclosed], parameters: dict[str, Any], features: int) -> Enclosed:
    """The enclosure of an elementwise function, by its rule."""
    values = [o.value for o in operands]
    value, slopes = rule(values, parameters)
    moving = [k for k, o in enumerate(operands) if o.slope is not None or o.line is not None]
    if not moving:
        return Enclosed(value)
    shape = jnp.broadcast_shapes(*(v.lo.shape for v in values))
    slope = _slope(slopes, operands, shape)
    found = _mean_value(rule, values, parameters, slopes)
    if len(operands) == 1 and slopes[0] is not None and not slopes[0].exact:
        found = _narrowest([found, *_sloped(rule, values[0], parameters, slopes[0])])
        if rule is relu:
            found = _narrowest([found, _chord(values[0])])
    return settled(value, slope, _laid(found, operands, features, shape))


Laid = tuple[list[jax.Array], Interval]
"""The factors λ of the operands, and where the rest lies."""


def _slope(slopes: Slopes, operands: Sequence[Enclosed], shape: tuple[int, ...]) -> Ball | None:
    mids, rads = [], []
    for slope, operand in zip(slopes, operands, strict=True):
        if slope is not None and operand.slope is not None:
            mid, rad = (_ranked(part, len(shape)) for part in operand.slope)
            size = jnp.abs(slope.mid) + slope.rad
            mids.append(slope.mid * mid)
            rads.append(size * rad + slope.rad * jnp.abs(mid) + ROUNDINGS * size * (jnp.abs(mid) + rad) + TINY)
    if not mids:
        return None
    full = (len(mids[0]), *shape)
    return Ball(jnp.broadcast_to(sum(mids), full), jnp.broadcast_to(sum(rads) * (1 + ROUNDINGS), full))


def _ranked(a: jax.Array, rank: int) -> jax.Array:
    """With the features first, ready to be broadcast to a value of this rank."""
    return a.reshape((a.shape[0], *(1,) * (rank + 1 - a.ndim), *a.shape[1:]))


def _mean_value(rule: Ranges, values: list[Interval], parameters: dict[str, Any], slopes: Slopes) -> Laid:
    mids = [v.lo if v.exact else v.mid for v in values]
    rest = rule([Interval(m, m) for m in mids], parameters)[0]
    factors = []
    for slope, v, mid in zip(slopes, values, mids, strict=True):
        if slope is None:
            factors.append(jnp.zeros_like(mid))
            continue
        factor = slope.mid
        factors.append(factor)
        around = jnp.zeros_like(mid) if v.exact else slope.rad * v.rad * (1 + ROUNDINGS)
        point = multiply(Interval(factor, factor), Interval(mid, mid))
        rest = subtract(rest, widened(point.lo - around, point.hi + around))
    return factors, rest


def _sloped(rule: Ranges, x: Interval, parameters: dict[str, Any], slope: Interval) -> list[Laid]:
    found = []
    ends = [rule([Interval(end, end)], parameters)[0] for end in (x.lo, x.hi)]
    for factor in (slope.lo, slope.hi):
        f = Interval(factor, factor)
        low, high = (subtract(y, multiply(f, Interval(end, end))) for y, end in zip(ends, (x.lo, x.hi), strict=True))
        found.append(([factor], hull(low, high)))
    return found


def _chord(x: Interval) -> Laid:
    """λ x ≤ relu(x) ≤ λ x − λ l for 0 ≤ λ and l ≤ 0 ≤ u, with any λ ≥ u / (u − l), up to 1."""
    crossing = (x.lo < 0) & (x.hi > 0)
    factor = jnp.where(crossing, x.hi / jnp.where(crossing, x.hi - x.lo, 1.0) * (1 + ROUNDINGS), jnp.inf)
    factor = jnp.where(crossing, jnp.minimum(factor, 1.0), jnp.inf)
    top = jnp.where(crossing, -factor * x.lo, jnp.inf)
    return [factor], widened(jnp.zeros_like(top), top)


def _narrowest(all_found: list[Laid]) -> Laid:
    factor, best = all_found[0][0][0], all_found[0][1]
    for (other,), rest in all_found[1:]:
        better = rest.hi - rest.lo < best.hi - best.lo
        factor = jnp.where(better, other, factor)
        best = Interval(jnp.where(better, rest.lo, best.lo), jnp.where(better, rest.hi, best.hi))
    return [factor], best


def _laid(found: Laid, operands: Sequence[Enclosed], features: int, shape: tuple[int, ...]) -> Line:
    factors, rest = found
    rank = len(shape)
    centre, error, along = rest.mid, rest.rad, jnp.zeros((features, *(1,) * rank))
    size = jnp.abs(rest.mid) + rest.rad
    for factor, operand in zip(factors, operands, strict=True):
        if operand.line is None:
            mid, rad = operand.value.mid, operand.value.rad
            reach = jnp.zeros_like(rad)
        else:
            mid, rad, steep, reach = operand.line
            along = along + factor * _ranked(steep, rank)
        centre, error = centre + factor * mid, error + jnp.abs(factor) * rad
        size = size + jnp.abs(factor) * (jnp.abs(mid) + rad + reach)
    error = (error + ROUNDINGS * size) * (1 + ROUNDINGS) + TINY
    full = (features, *shape)
    return new_line(jnp.broadcast_to(centre, shape), jnp.broadcast_to(error, shape), jnp.broadcast_to(along, full))
