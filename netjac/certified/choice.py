"""Equations that choose: pools and extremes, comparisons, `select`. Where the choice is open, the hull of what may be chosen.

max(x, y), x ∈ [0, 2], y ∈ [1, 3]: value [1, 3]; slopes are those of x or those of y, so all between them
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from netjac.certified.enclosed import Ball, Enclosed, ball, flat, settled
from netjac.certified.enclosed import line as new_line
from netjac.certified.interval import Interval, hull
from netjac.graph.program import Equation

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
EXTREMES = frozenset({"reduce_max", "reduce_window_max", "reduce_min", "reduce_window_min"})


def compared(eqn: Equation, operands: Sequence[Enclosed]) -> Enclosed:
    """lo: surely true, hi: perhaps true."""
    a, b = (o.value for o in operands)
    if eqn.name in ("eq", "ne"):
        same = a.exact and b.exact
        surely = a.lo == b.lo if same else jnp.zeros(a.lo.shape, bool)
        perhaps = surely if same else ~((a.hi < b.lo) | (b.hi < a.lo))
        return Enclosed(Interval(surely, perhaps) if eqn.name == "eq" else Interval(~perhaps, ~surely))
    if eqn.name in ("lt", "le"):
        a, b = b, a
    if eqn.name in ("gt", "lt"):
        return Enclosed(Interval(a.lo > b.hi, ~(a.hi <= b.lo)))
    return Enclosed(Interval(a.lo >= b.hi, ~(a.hi < b.lo)))


def selected(operands: Sequence[Enclosed], features: int) -> Enclosed:
    """select(which, no, yes) entry by entry."""
    which, no, yes = operands
    surely, never = which.value.lo, ~which.value.hi

    def chosen(a: jax.Array, b: jax.Array, between: jax.Array) -> jax.Array:
        return jnp.where(surely, b, jnp.where(never, a, between))

    both = hull(no.value, yes.value)
    value = Interval(chosen(no.value.lo, yes.value.lo, both.lo), chosen(no.value.hi, yes.value.hi, both.hi))
    if no.slope is None and yes.slope is None and no.line is None and yes.line is None:
        return Enclosed(value)
    a, b = (_slope(o, features) for o in (no, yes))
    between = ball(hull(a.interval, b.interval))
    slope = Ball(chosen(a.mid, b.mid, between.mid), chosen(a.rad, b.rad, between.rad))
    lines = [o.line or flat(o.value, features) for o in (no, yes)]
    unknown = flat(value, features)
    centre, error, along = (
        chosen(getattr(lines[0], part), getattr(lines[1], part), getattr(unknown, part))
        for part in ("centre", "error", "along")
    )
    return settled(value, slope, new_line(centre, error, along))


def _slope(operand: Enclosed, features: int) -> Ball:
    if operand.slope is not None:
        return operand.slope
    zero = jnp.zeros((features, *operand.value.lo.shape))
    return Ball(zero, zero)


def extreme(eqn: Equation, operand: Enclosed) -> Enclosed:
    """Maxima and minima over axes or windows: the slopes of all that can be the largest, or the smallest."""
    value = Interval(eqn.bind(operand.value.lo)[0], eqn.bind(operand.value.hi)[0])
    if operand.slope is None:
        return Enclosed(value)
    over = _over_windows if "window" in eqn.name else _over_axes
    most, least = (operand.value.hi, value.lo) if "max" in eqn.name else (-operand.value.lo, -value.hi)
    return Enclosed(value, ball(over(eqn, most, operand.slope.interval, least)))


def _over_axes(eqn: Equation, hi: jax.Array, slope: Interval, least: jax.Array) -> Interval:
    axes = tuple(eqn.parameters["axes"])
    out = ~(hi < jnp.expand_dims(least, axes))
    shifted = tuple(axis + 1 for axis in axes)
    return Interval(jnp.where(out, slope.lo, jnp.inf).min(shifted), jnp.where(out, slope.hi, -jnp.inf).max(shifted))


def _over_windows(eqn: Equation, hi: jax.Array, slope: Interval, least: jax.Array) -> Interval:
    """One place of all windows after the other."""
    given = eqn.parameters
    dilation, strides, padding = given["window_dilation"], given["window_strides"], given["padding"]

    def padded(a: jax.Array, by: float) -> jax.Array:
        return lax.pad(
            a,
            jnp.asarray(by, a.dtype),
            [(lo, hi, d - 1) for (lo, hi), d in zip(padding, given["base_dilation"], strict=True)],
        )

    def at(a: jax.Array, place: Sequence[int]) -> jax.Array:
        starts = [p * d for p, d in zip(place, dilation, strict=True)]
        ends = [s + (n - 1) * step + 1 for s, n, step in zip(starts, least.shape, strides, strict=True)]
        return lax.slice(a, starts, ends, strides)

    hi = padded(hi, -jnp.inf)
    lo_all, hi_all = (
        jax.vmap(lambda s, by=by: padded(s, by))(a) for a, by in ((slope.lo, jnp.inf), (slope.hi, -jnp.inf))
    )
    low, high = jnp.full((len(slope.lo), *least.shape), jnp.inf), jnp.full((len(slope.lo), *least.shape), -jnp.inf)
    for place in product(*map(range, given["window_dimensions"])):
        perhaps = ~(at(hi, place) < least)
        each = jax.vmap(lambda s, place=place: at(s, place))
        low = jnp.minimum(low, jnp.where(perhaps, each(lo_all), jnp.inf))
        high = jnp.maximum(high, jnp.where(perhaps, each(hi_all), -jnp.inf))
    return Interval(low, high)
