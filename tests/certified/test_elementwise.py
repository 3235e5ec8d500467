"""Elementwise functions over intervals: XLA computes them as closely as is taken for granted, and no slope escapes."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from netjac.certified.elementwise import RULES
from netjac.certified.interval import FUNCTION, Interval, add, constant, divide, multiply, subtract

FUNCTIONS = {
    "tanh": mpmath.tanh, "logistic": lambda x: 1 / (1 + mpmath.exp(-x)), "erf": mpmath.erf, "erfc": mpmath.erfc,
    "atan": mpmath.atan, "exp": mpmath.exp, "exp2": lambda x: mpmath.mpf(2) ** x, "expm1": mpmath.expm1, "log": mpmath.log,
    "log1p": mpmath.log1p, "sqrt": mpmath.sqrt, "rsqrt": lambda x: 1 / mpmath.sqrt(x), "sin": mpmath.sin,
    "cos": mpmath.cos, "pow": lambda x: x**2.5, "square": lambda x: x * x, "abs": abs, "neg": lambda x: -x,
}  # fmt: skip
POSITIVE = ("log", "sqrt", "rsqrt", "log1p", "pow")


def over(name, lo, hi):
    """The enclosures of the value and of the slope by the first operand."""
    operands = [Interval(lo, hi), *([constant(2.5, lo)] if name == "pow" else [])]
    value, slopes = RULES[name](operands, {})
    return value, slopes[0]


def points(name, rng):
    x = np.concatenate([rng.uniform(-8, 8, 60), rng.choice((-1, 1), 60) * 10.0 ** rng.uniform(-12, 1.2, 60)])
    return np.abs(x) if name in POSITIVE else x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_in_multiple_precision_lie_in_the_enclosure_of_a_point(name):
    x = points(name, np.random.default_rng(0))
    with jax.enable_x64(True), mpmath.workdps(60):
        value, slope = over(name, jnp.asarray(x), jnp.asarray(x))
        exact = [FUNCTIONS[name](mpmath.mpf(float(p))) for p in x]
        slopes = [mpmath.diff(FUNCTIONS[name], mpmath.mpf(float(p)), h=abs(p) * mpmath.mpf(10) ** -18) for p in x]
        for found, known in ((value, exact), (slope, slopes)):
            lo, hi = np.asarray(found.lo), np.asarray(found.hi)
            outside = [float(p) for p, a, b, k in zip(x, lo, hi, known, strict=True) if not a <= k <= b]
            assert outside == []
            assert (hi - lo <= 8 * FUNCTION * np.maximum(np.abs(lo), 1.0)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_of_all_points_lie_in_the_enclosure_of_an_interval(name):
    rng = np.random.default_rng(1)
    lo = points(name, rng)
    hi = lo + 10.0 ** rng.uniform(-3, 1, lo.shape)
    with jax.enable_x64(True):
        value, slope = over(name, jnp.asarray(lo), jnp.asarray(hi))
        for share in (0.0, 0.2, 0.5, 0.7, 1.0):
            x = jnp.asarray((1 - share) * lo + share * hi)
            at, along = over(name, x, x)
            for inner, outer in ((at, value), (along, slope)):
                assert (inner.lo + inner.hi >= 2 * outer.lo).all()
                assert (inner.lo + inner.hi <= 2 * outer.hi).all()


def test_the_tail_of_erfc_which_xla_computes_less_closely_is_enclosed():
    x = np.linspace(4, 26, 200)
    with jax.enable_x64(True), mpmath.workdps(40):
        value, _ = over("erfc", jnp.asarray(x), jnp.asarray(x))
        known = [mpmath.erfc(mpmath.mpf(float(p))) for p in x]
        assert all(a <= k <= b for a, k, b in zip(map(float, value.lo), known, map(float, value.hi), strict=True))
        whole = over("erfc", -jnp.inf, jnp.inf)[0]
        assert float(whole.lo) <= 0
        assert float(whole.hi) >= 2


def test_arithmetic_is_enclosed_in_rationals():
    rng = np.random.default_rng(2)
    a, b = np.sort(rng.standard_normal((2, 2, 200)), axis=1)
    operations = {add: lambda x, y: x + y, subtract: lambda x, y: x - y, multiply: lambda x, y: x * y}
    with jax.enable_x64(True):
        first, second = Interval(*map(jnp.asarray, a)), Interval(*map(jnp.asarray, b))
        for enclosed, operation in {**operations, divide: lambda x, y: x / y}.items():
            found = enclosed(first, second)
            for k in range(a.shape[1]):
                for x in a[:, k]:
                    for y in b[:, k]:
                        assert Fraction(0) != y
                        known = operation(Fraction(x), Fraction(y))
                        assert float(found.lo[k]) <= known <= float(found.hi[k])
        assert np.isinf(np.asarray(divide(first, Interval(-jnp.ones(200), jnp.ones(200))).hi)).all()
