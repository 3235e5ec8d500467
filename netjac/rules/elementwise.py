"""Elementwise primitives: u_i = f(v_i, w_i, …), so ∂u/∂v = diag(f′(v)).

Example, f = max(·, 0) at v = [[1, −2, 3], [−4, 5, −6]]: the numbers are [[1, 0, 1], [0, 1, 0]], one for each entry of
v, and the 6 × 6 Jacobian is never written out.

f′ is the primitive's own forward derivative at a tangent of ones, which is right for whatever JAX calls elementwise
and keeps its conventions (half of the slope to each side of a tie). Linear primitives keep their coefficient as it
stands in the program: a bias repeated over samples scales with its own few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from netjac.graph.program import Equation, Program
from netjac.rules.local import Explicit, Local, by_ones, repeated, rule, unrepeated

UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bessel_i0e", "bessel_i1e", "cbrt", "cos", "cosh",
    "digamma", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "lgamma", "log", "log1p", "logistic",
    "rsqrt", "sin", "sinh", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
BINARY = ("atan2", "max", "min", "pow", "rem", "igamma", "igammac", "polygamma", "zeta", "regularized_incomplete_beta")
STEPS = ("sign", "floor", "ceil", "round", "is_finite", "stop_gradient", "iota", "argmax", "argmin")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor")
SAME = ("copy", "copy_p", "name", "convert_element_type", "reduce_precision", "add_any", "sharding_constraint")


@rule(*UNARY, *BINARY, "clamp")
def elementwise(program: Program, eqn: Equation, operand: int, result: int) -> Local:
    return by_ones(program, eqn, operand, result, pushes=True)


@rule(*STEPS, *COMPARISONS)
def step(_program: Program, _eqn: Equation, _operand: int, _result: int) -> None:
    """Piecewise constant: the derivative is zero wherever it exists."""


@rule(*SAME, "add")
def same(program: Program, eqn: Equation, operand: int, result: int) -> Local:
    pattern = repeated(program.shape(eqn.operands[operand]), program.shape(eqn.results[result]), ())
    return Explicit(pattern, None, eqn.name)


@rule("neg")
def negative(program: Program, eqn: Equation, operand: int, result: int) -> Local:
    dtype = program.dtype(eqn.results[result])
    pattern = repeated(program.shape(eqn.operands[operand]), program.shape(eqn.results[result]), ())
    return Explicit(pattern, lambda _values: jnp.asarray(-1, dtype), eqn.name)


@rule("sub")
def difference(program: Program, eqn: Equation, operand: int, result: int) -> Local | None:
    return (negative if operand else same)(program, eqn, operand, result)


@rule("mul")
def product(program: Program, eqn: Equation, operand: int, _result: int) -> Local:
    return _scaled(program, eqn, operand, eqn.operands[1 - operand], lambda other: other)


@rule("div")
def quotient(program: Program, eqn: Equation, operand: int, result: int) -> Local:
    if operand == 0:
        return _scaled(program, eqn, operand, eqn.operands[1], lambda other: 1 / other)
    return by_ones(program, eqn, operand, result, pushes=True)


@rule("select_n")
def choice(program: Program, eqn: Equation, operand: int, _result: int) -> Local | None:
    """u = cases[which]: the numbers are 1 where this case was chosen."""
    if operand == 0:
        return None
    dtype = program.dtype(eqn.results[0])
    return _scaled(program, eqn, operand, eqn.operands[0], lambda which: (which == operand - 1).astype(dtype))


def _scaled(
    program: Program, eqn: Equation, operand: int, coefficient: int, form: Callable[[jax.Array], jax.Array]
) -> Explicit:
    """diag(form(coefficient)), with numbers only along the axes that the coefficient truly has."""
    source, axes = unrepeated(program, coefficient)
    varying = [axis for axis, size in zip(axes, program.shape(source), strict=True) if size != 1]
    pattern = repeated(program.shape(eqn.operands[operand]), program.shape(eqn.results[0]), varying)

    def numbers(values: dict[int, Any]) -> jax.Array:
        return form(jnp.asarray(values[source])).reshape(pattern.data_shape)

    return Explicit(pattern, numbers, eqn.name)
