"""Linear equations over a box: products with weights, convolutions, sums, and everything that only moves entries.

Of a product with W = mid ± rad_W, a ball (m, r) becomes (Rump, INTLAB, 1999)

    m' = m · mid,   r' = r · (|mid| + rad_W) + |m| · rad_W + rounding

the rounding being at most γ_k |m| · |mid| for sums of k terms. Sums and moves have entries 0 and 1 and keep every order: the
lower ends go to the lower end.

    (2 ± 1) · [[3], [−1]] summed with (0 ± 1): 6 ± (1 · 3 + 1 · 1)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from netjac.certified.enclosed import Ball, Enclosed, Line, settled
from netjac.certified.enclosed import line as new_line
from netjac.certified.interval import TINY, Interval, around, gamma, widened
from netjac.graph.program import Equation, Program

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
MOVES = frozenset({
    "reshape", "transpose", "broadcast_in_dim", "slice", "squeeze", "expand_dims", "concatenate", "stack", "pad", "rev",
    "split", "gather", "dynamic_slice",
})  # fmt: skip
SUMS = frozenset({"reduce_sum", "reduce_window_sum", "cumsum"})
INDEXED = frozenset({"gather", "dynamic_slice"})
"""Moves whose operands behind the first say where entries are taken from."""
Bilinear = Callable[[jax.Array, jax.Array], jax.Array]


def product(program: Program, eqn: Equation, operands: Sequence[Enclosed]) -> Enclosed:
    """A product of two values, either or both of which may depend on the input."""
    terms = _terms(program, eqn)
    parts = [_along(eqn, place, operands[place], ball_of(operands[1 - place]), terms) for place in (0, 1)]
    value = _times(lambda a, b: eqn.bind(a, b)[0], ball_of(operands[0]), ball_of(operands[1]), terms)
    slopes = [slope for slope, _ in parts if slope is not None]
    lines = [line for _, line in parts if line is not None]
    slope = None
    if slopes:
        mid, rad = (sum(terms[1:], start=terms[0]) for terms in zip(*slopes, strict=True))
        slope = Ball(mid, (rad + gamma(2) * jnp.abs(mid)) * (1 + gamma(2)) + TINY)
    return settled(around(value.mid, value.rad), slope, lines[0] if lines else None)


def _terms(program: Program, eqn: Equation) -> int:
    """How many numbers are summed into one entry of the result."""
    shape, given = program.shape(eqn.operands[0]), eqn.parameters
    if eqn.name == "dot_general":
        return prod(shape[axis] for axis in given["dimension_numbers"][0][0])
    if eqn.name == "conv_general_dilated":
        kernel = program.shape(eqn.operands[1])
        return prod(kernel) // max(kernel[given["dimension_numbers"].rhs_spec[0]], 1)
    if eqn.name == "reduce_window_sum":
        return prod(given["window_dimensions"])
    return prod(shape[axis] for axis in given["axes"]) if eqn.name == "reduce_sum" else shape[given["axis"]]


def ball_of(operand: Enclosed) -> Ball:
    value = operand.value
    return Ball(value.mid, jnp.zeros_like(value.lo) if value.exact else value.rad)


def _along(eqn: Equation, place: int, moving: Enclosed, other: Ball, terms: int) -> tuple[Ball | None, Line | None]:
    """The slopes and the line of one operand, through the product with all that the other can be."""

    def once(a: jax.Array, b: jax.Array) -> jax.Array:
        return eqn.bind(a, b)[0] if place == 0 else eqn.bind(b, a)[0]

    each = jax.vmap(once, (0, None))
    slope = None if moving.slope is None else _times(each, moving.slope, other, terms)
    if moving.line is None:
        return slope, None
    centre, error, along, reach = moving.line
    size, g = jnp.abs(other.mid) + other.rad, 2 * gamma(terms)
    spread = once(error + g * (jnp.abs(centre) + error + reach), size) + once(jnp.abs(centre) + reach, other.rad)
    return slope, new_line(once(centre, other.mid), spread * (1 + g) + TINY, each(along, other.mid))


def _times(times: Bilinear, a: Ball, b: Ball, terms: int) -> Ball:
    g = 2 * gamma(terms)
    size = jnp.abs(a.mid)
    rad = times(a.rad + g * (size + a.rad), jnp.abs(b.mid) + b.rad) + times(size, b.rad)
    return Ball(times(a.mid, b.mid), rad * (1 + g) + TINY)


def moved(program: Program, eqn: Equation, operands: Sequence[Enclosed]) -> list[Enclosed]:
    """An equation that moves, repeats or sums entries; indices are exact."""
    summed = eqn.name in SUMS
    terms = _terms(program, eqn) if summed else 0
    floats = [program.differentiable(n) for n in eqn.operands]

    def bind(arrays: Sequence[Any]) -> list[Any]:
        return eqn.bind(*(a if f else o.value.lo for a, f, o in zip(arrays, floats, operands, strict=True)))

    def each(arrays: Sequence[Any], features: int) -> list[Any]:
        stacked = [
            jnp.zeros((features, *o.value.lo.shape)) if a is None else a for a, o in zip(arrays, operands, strict=True)
        ]
        return jax.vmap(lambda *a: bind(a))(*stacked)

    rounded = summed and floats[0]
    values = _moved_values(eqn, operands, terms if rounded else 0)
    slopes = [o.slope for o in operands if o.slope is not None]
    lines = [o.line for o in operands if o.line is not None]
    count = len(eqn.results)
    new_slopes: list[Ball | None] = [None] * count
    new_lines: list[Line | None] = [None] * count
    g = 2 * gamma(terms) if summed else 0.0
    if slopes:
        n = slopes[0].mid.shape[0]
        mids = each([o.slope and o.slope.mid for o in operands], n)
        rads = each([o.slope and _rounded(o.slope.rad, jnp.abs(o.slope.mid), g) for o in operands], n)
        new_slopes = [Ball(m, r * (1 + g) if summed else r) for m, r in zip(mids, rads, strict=True)]
    if lines:
        n = lines[0].along.shape[0]
        alongs = each([o.line and o.line.along for o in operands], n)
        centres = bind([o.line.centre if o.line else o.value.mid for o in operands])
        errors = bind([_error(o, g) for o in operands])
        if not summed:
            reaches = bind([o.line.reach if o.line else jnp.zeros_like(o.value.lo) for o in operands])
            new_lines = [Line(*parts) for parts in zip(centres, errors, alongs, reaches, strict=True)]
            return [Enclosed(*found) for found in zip(values, new_slopes, new_lines, strict=True)]
        new_lines = [new_line(c, e * (1 + g), a) for c, e, a in zip(centres, errors, alongs, strict=True)]
    return [settled(*found) for found in zip(values, new_slopes, new_lines, strict=True)]


def _moved_values(eqn: Equation, operands: Sequence[Enclosed], terms: int) -> list[Interval]:
    """Of numbers as of truths: both keep their order. `terms` floating numbers are summed into one."""
    lows = eqn.bind(*(o.value.lo for o in operands))
    exact = all(o.value.exact for o in operands)
    highs = lows if exact else eqn.bind(*(o.value.hi for o in operands))
    if not terms:
        return [Interval(lo, hi) for lo, hi in zip(lows, highs, strict=True)]
    sizes = eqn.bind(*(jnp.maximum(jnp.abs(o.value.lo), jnp.abs(o.value.hi)) for o in operands))
    return [
        widened(lo - 2 * gamma(terms) * s, hi + 2 * gamma(terms) * s)
        for lo, hi, s in zip(lows, highs, sizes, strict=True)
    ]


def _error(operand: Enclosed, g: float) -> jax.Array:
    """The line's error and what summing its parts adds to it."""
    if operand.line is None:
        value = operand.value
        return jnp.zeros_like(value.lo) if value.exact else _rounded(value.rad, jnp.abs(value.mid), g)
    centre, error, _, reach = operand.line
    return _rounded(error, jnp.abs(centre) + reach, g)


def _rounded(error: jax.Array, size: jax.Array, g: float) -> jax.Array:
    return error + g * (size + error) if g else error
