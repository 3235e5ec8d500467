"""The product of the layers' norms: a Lipschitz constant that holds everywhere, and is rarely close.

Every value gets a bound of the spectral norm of its Jacobian by the input, from those of the values that it is computed of
(Szegedy et al., Intriguing properties of neural networks, 2014, §4.3):

    W x: ‖W‖₂ · bound,   φ(x): max |φ′| · bound,   x + y: the sum,   (x, y) side by side: √(bound² + bound²)

Of convolutions and sums ‖A‖₂ ≤ √(‖A‖₁ ‖A‖_∞) is taken. Where two values that both depend on the input are multiplied nothing
bounds the slope everywhere, and the product is infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd, prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.certified.choice import COMPARISONS, EXTREMES
from netjac.certified.enclosed import Enclosed
from netjac.certified.forward import exact, handlers, rule_of
from netjac.certified.interval import Interval, gamma
from netjac.certified.linear import MOVES, PRODUCTS, ball_of
from netjac.certified.norms import spectral
from netjac.graph.program import Equation, Program
from netjac.precision import precise
from netjac.tracing import Point

Sizes = list[tuple[jax.Array, ...] | None]
"""Of an equation by operand: (largest |slope|,) of a function; of a linear map its largest sums of a row and of a column, and
for a matrix its middle and radius; None where it is not needed."""


def product_of_norms(point: Point, of: int) -> float:
    """An upper bound of ‖∂of/∂input‖₂ of one sample, everywhere."""
    program, number = point.traced.program, point.traced.inputs[point.names[0]]
    # One program for all sizes: equation by equation, every small operation would be compiled by itself, which takes seconds.
    kind = point.traced.kind
    run = kind.once(("norms", number, of), lambda: jax.jit(_measured(kind.program, number, of)))
    with precise(True), jax.default_device(jax.devices("cpu")[0]):
        sizes = run(point.arguments(), list(program.constants.values()))
    norms = {number: 1.0}
    for index in _dependent(program, number, of):
        eqn = program.equations[index]
        norm = _norm(program, eqn, sizes[index], [norms.get(n, 0.0) for n in eqn.operands])
        norms.update(dict.fromkeys(eqn.results, norm * (1 + 1e-14) if norm == norm else float("inf")))
    return norms.get(of, 0.0)


def _dependent(program: Program, number: int, of: int) -> list[int]:
    """The equations whose results have a derivative by the input."""
    depends, found = {number}, []
    for index in program.needed([of]):
        eqn = program.equations[index]
        if depends.intersection(eqn.operands) and program.differentiable(eqn.results[0]):
            depends.update(eqn.results)
            found.append(index)
    return found


def _measured(program: Program, number: int, of: int) -> Callable[..., dict[int, Sizes]]:
    """Arguments and constants → the sizes of each equation that depends on the input, its values ranging over all inputs."""
    found, wanted = handlers(program, program.needed([of])), frozenset(_dependent(program, number, of))
    moving = {number, *(n for index in wanted for n in program.equations[index].results)}

    def run(arguments: Any, constants: Any) -> dict[int, Sizes]:
        known = {n: exact(a) for n, a in zip(program.inputs, arguments, strict=True)}
        known.update({n: exact(jnp.asarray(a)) for n, a in zip(program.constants, constants, strict=True)})
        known.update({n: exact(jnp.asarray(a, program.dtype(n))) for n, a in program.literals.items()})
        everywhere = jnp.full(program.shape(number), jnp.inf)
        known[number] = Enclosed(Interval(-everywhere, everywhere))
        sizes = {}
        for index, (reads, handler) in found.items():
            eqn = program.equations[index]
            operands = [known[n] for n in eqn.operands]
            known.update(zip(eqn.results, map(_whole, handler([known[n] for n in reads], 0)), strict=True))
            if index in wanted:
                sizes[index] = _sizes(eqn, operands, [n in moving for n in eqn.operands])
        return sizes

    return run


def _whole(found: Enclosed) -> Enclosed:
    """Ends that are no number are infinite."""
    lo, hi = found.value
    if not jnp.issubdtype(lo.dtype, jnp.floating) or found.value.exact:
        return found
    return Enclosed(Interval(jnp.where(jnp.isnan(lo), -jnp.inf, lo), jnp.where(jnp.isnan(hi), jnp.inf, hi)))


def _sizes(eqn: Equation, operands: Sequence[Enclosed], depends: Sequence[bool]) -> Sizes:
    if eqn.name in PRODUCTS:
        return [_factor(eqn, operands, place) if depends[place] else None for place in range(2)]
    rule = rule_of(eqn)
    if rule is not None:
        slopes = rule([o.value for o in operands], eqn.parameters)[1]
        return [None if s is None else (jnp.maximum(jnp.abs(s.lo), jnp.abs(s.hi)).max(),) for s in slopes]
    if _plain(eqn):
        return []
    return [_absolute(lambda x: eqn.bind(x, *(o.value.lo for o in operands[1:]))[0], operands[0].value.lo)]


def _plain(eqn: Equation) -> bool:
    """Whether an equation's name says enough: it chooses entries, or moves them."""
    chosen = COMPARISONS | EXTREMES | MOVES - {"broadcast_in_dim", "gather"}
    return eqn.name in chosen or eqn.name in ("stop_gradient", "sign", "select_n")


def _factor(eqn: Equation, operands: Sequence[Enclosed], place: int) -> tuple[jax.Array, ...]:
    """The other operand of a product, as a linear map of the one at `place`."""
    other = ball_of(operands[1 - place])
    size = jnp.abs(other.mid) + other.rad
    sums = _absolute(lambda x: eqn.bind(*((x, size) if place == 0 else (size, x)))[0], operands[place].value.lo)
    if eqn.name == "dot_general" and other.mid.ndim == 2 and not eqn.parameters["dimension_numbers"][1][0]:
        return *sums, other.mid, jnp.broadcast_to(other.rad, other.mid.shape)
    return sums


def _absolute(linear: Any, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest sums of a row and of a column of a linear map without negative entries."""
    rows, pull = jax.vjp(linear, jnp.ones(like.shape))
    (columns,) = pull(jnp.ones(rows.shape))
    return rows.max(), columns.max()


def _norm(program: Program, eqn: Equation, sizes: Sizes, norms: Sequence[float]) -> float:
    """The bound of an equation's result from those of its operands."""
    if eqn.name in COMPARISONS or eqn.name in ("stop_gradient", "sign"):
        return 0.0
    if eqn.name in PRODUCTS:
        return _of_product(program, eqn, sizes, norms)
    if eqn.name == "select_n":
        return sum(norms[1:])
    if eqn.name in ("reduce_max", "reduce_min"):
        return norms[0]
    if eqn.name in EXTREMES:
        return norms[0] * sqrt(_windows_over_an_entry(eqn.parameters))
    if rule_of(eqn) is not None:
        return _of_curve(program, eqn, sizes, norms)
    if eqn.name == "concatenate":
        return sqrt(sum(norm * norm for norm in norms))
    if _plain(eqn):
        return sum(norms)
    assert sizes[0] is not None
    return norms[0] * _between(program, eqn, 0, sizes[0])


def _windows_over_an_entry(given: dict[str, Any]) -> int:
    """At most. Places k of a window lie d apart and windows s apart, so that a share gcd(s, d) / s of all k meets an entry."""
    axes = zip(given["window_dimensions"], given["window_strides"], given["window_dilation"], strict=True)
    return prod(-(-w * gcd(s, d) // s) for w, s, d in axes)


def _of_product(program: Program, eqn: Equation, sizes: Sizes, norms: Sequence[float]) -> float:
    if all(norms):
        return float("inf")
    place = 0 if norms[0] else 1
    size = sizes[place]
    if size is None or not norms[place]:
        return 0.0
    found = _between(program, eqn, place, size)
    if len(size) == 4:
        found = min(found, float(spectral(np.asarray(size[2])) + spectral(np.asarray(size[3]))))
    return norms[place] * found


def _between(program: Program, eqn: Equation, place: int, size: Sequence[jax.Array]) -> float:
    """√(‖A‖₁ ‖A‖_∞)."""
    most = max(program.size(eqn.operands[place]), program.size(eqn.results[0]))
    return sqrt(float(size[0]) * float(size[1])) * (1 + 2 * gamma(most))


def _of_curve(program: Program, eqn: Equation, sizes: Sizes, norms: Sequence[float]) -> float:
    total = 0.0
    result = program.size(eqn.results[0])
    for size, n, norm in zip(sizes, eqn.operands, norms, strict=True):
        if size is not None and norm:
            steepest = float(size[0])
            steepest = float("inf") if steepest != steepest else steepest
            total += norm * steepest * sqrt(result / program.size(n))
    return total
