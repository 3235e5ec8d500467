"""The product of the layers' norms: a Lipschitz constant that holds everywhere, and is rarely close.

Every value gets a bound of the spectral norm of its Jacobian by the input, from those of the values that it is computed of
(Szegedy et al., Intriguing properties of neural networks, 2014, §4.3):

    W x: ‖W‖₂ · bound,   φ(x): max |φ′| · bound,   x + y: the sum,   (x, y) side by side: √(bound² + bound²)

Of convolutions and sums ‖A‖₂ ≤ √(‖A‖₁ ‖A‖_∞) is taken. Where two values that both depend on the input are multiplied nothing
bounds the slope everywhere, and the product is infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.certified.choice import COMPARISONS, MAXIMA
from netjac.certified.enclosed import Enclosed
from netjac.certified.forward import exact, handlers, rule_of
from netjac.certified.interval import Interval, gamma
from netjac.certified.linear import MOVES, PRODUCTS, ball_of
from netjac.certified.norms import spectral
from netjac.graph.program import Equation, Program
from netjac.precision import precise
from netjac.tracing import Point


def product_of_norms(point: Point, of: int) -> float:
    """An upper bound of ‖∂of/∂input‖₂ of one sample, everywhere."""
    program = point.traced.program
    with precise(True), jax.default_device(jax.devices("cpu")[0]):
        given = {n: exact(a) for n, a in zip(program.inputs, point.arguments(), strict=True)}
        given.update({n: exact(jnp.asarray(a)) for n, a in program.constants.items()})
        given.update({n: exact(jnp.asarray(a, program.dtype(n))) for n, a in program.literals.items()})
        number = point.traced.inputs[point.names[0]]
        everywhere = jnp.full(program.shape(number), jnp.inf)
        given[number] = Enclosed(Interval(-everywhere, everywhere))
        return _followed(program, given, {number: 1.0}, of)


def _followed(program: Program, known: dict[int, Enclosed], norms: dict[int, float], of: int) -> float:
    """`known` are the values' ranges over all inputs, `norms` the bounds of those that depend on the input."""
    for index, handler in handlers(program, program.needed([of])).items():
        eqn = program.equations[index]
        operands = [known[n] for n in eqn.operands]
        known.update(zip(eqn.results, map(_whole, handler(operands, 0)), strict=True))
        if any(n in norms for n in eqn.operands) and program.differentiable(eqn.results[0]):
            norm = _norm(program, eqn, operands, [norms.get(n, 0.0) for n in eqn.operands])
            norms.update(dict.fromkeys(eqn.results, norm * (1 + 1e-14) if norm == norm else float("inf")))
    return norms.get(of, 0.0)


def _whole(found: Enclosed) -> Enclosed:
    """Ends that are no number are infinite."""
    lo, hi = found.value
    if not jnp.issubdtype(lo.dtype, jnp.floating) or found.value.exact:
        return found
    return Enclosed(Interval(jnp.where(jnp.isnan(lo), -jnp.inf, lo), jnp.where(jnp.isnan(hi), jnp.inf, hi)))


def _norm(program: Program, eqn: Equation, operands: Sequence[Enclosed], norms: Sequence[float]) -> float:
    if eqn.name in COMPARISONS or eqn.name == "stop_gradient":
        return 0.0
    if eqn.name in PRODUCTS:
        return _of_product(eqn, operands, norms)
    if eqn.name == "select_n":
        return sum(norms[1:])
    if eqn.name == "reduce_max":
        return norms[0]
    if eqn.name in MAXIMA:
        given = eqn.parameters
        over = [-(-w // s) for w, s in zip(given["window_dimensions"], given["window_strides"], strict=True)]
        return norms[0] * sqrt(float(np.prod(over)))
    rule = rule_of(eqn)
    if rule is not None:
        return _of_curve(program, eqn, rule(_values(operands), eqn.parameters)[1], norms)
    if eqn.name == "concatenate":
        return sqrt(sum(norm * norm for norm in norms))
    if eqn.name in MOVES - {"broadcast_in_dim", "gather"}:
        return sum(norms)
    return norms[0] * _absolute(lambda x: eqn.bind(x, *(o.value.lo for o in operands[1:]))[0], operands[0].value.lo)


def _values(operands: Sequence[Enclosed]) -> list[Interval]:
    return [o.value for o in operands]


def _of_product(eqn: Equation, operands: Sequence[Enclosed], norms: Sequence[float]) -> float:
    if all(norms):
        return float("inf")
    place = 0 if norms[0] else 1
    other = ball_of(operands[1 - place])
    size = jnp.abs(other.mid) + other.rad
    found = _absolute(lambda x: eqn.bind(*((x, size) if place == 0 else (size, x)))[0], operands[place].value.lo)
    if eqn.name == "dot_general" and other.mid.ndim == 2 and not eqn.parameters["dimension_numbers"][1][0]:
        found = min(found, float(spectral(np.asarray(other.mid)) + spectral(np.asarray(other.rad))))
    return norms[place] * found


def _absolute(linear: Any, like: jax.Array) -> float:
    """√(‖A‖₁ ‖A‖_∞) of a linear map without negative entries."""
    ones = jnp.ones(like.shape)
    rows, pull = jax.vjp(linear, ones)
    (columns,) = pull(jnp.ones(rows.shape))
    g = 2 * gamma(max(like.size, rows.size))
    return sqrt(float(rows.max()) * float(columns.max())) * (1 + g)


def _of_curve(program: Program, eqn: Equation, slopes: Any, norms: Sequence[float]) -> float:
    total = 0.0
    result = program.size(eqn.results[0])
    for slope, n, norm in zip(slopes, eqn.operands, norms, strict=True):
        if slope is not None and norm:
            steepest = float(jnp.maximum(jnp.abs(slope.lo), jnp.abs(slope.hi)).max())
            steepest = float("inf") if steepest != steepest else steepest
            total += norm * steepest * sqrt(result / program.size(n))
    return total
