"""Elementwise functions over an interval: the range of their value and of their slope by each operand.

`RULES` maps a primitive's name to a function of the operands' intervals and the equation's parameters; it gives the value's
interval and the slopes' intervals, one for each operand (None where the slope is zero). Slopes at a kink are all those
between the two sides, so that whatever a framework takes there is among them.

    tanh over [−1, 2]: value [tanh(−1), tanh(2)], slope [1 − tanh²(2), 1]: even, and falling away from zero
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp

from netjac.certified.interval import (
    FUNCTION,
    UNIT,
    Interval,
    add,
    constant,
    divide,
    magnitude,
    multiply,
    reciprocal,
    spanned,
    subtract,
    widened,
)

Slopes = tuple[Interval | None, ...]
Ranges = Callable[[list[Interval], dict[str, Any]], tuple[Interval, Slopes]]
Function = Callable[[jax.Array], jax.Array]
NOWHERE = (-jnp.inf, jnp.inf)


def _rising(value: Function, slope: Callable[[Interval], Interval], scale: float = 0.0) -> Ranges:
    """A function that never falls."""

    def ranges(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
        (x,) = operands
        return widened(value(x.lo), value(x.hi), FUNCTION, scale), (slope(x),)

    return ranges


def _bump(slope: Function) -> Callable[[Interval], Interval]:
    """The range of an even function that falls away from zero, and is at most about 1."""

    def over(x: Interval) -> Interval:
        least, most = magnitude(x)
        return widened(slope(most), slope(least), FUNCTION, 1.0)

    return over


def _monotone(slope: Function) -> Callable[[Interval], Interval]:
    """The range of a slope that rises, or falls, all along."""

    def over(x: Interval) -> Interval:
        a, b = slope(x.lo), slope(x.hi)
        return widened(jnp.minimum(a, b), jnp.maximum(a, b), FUNCTION)

    return over


def _positive_only(rule: Ranges, least: float = 0.0) -> Ranges:
    """All numbers where the operand may be at or below `least`, where the function or its slope ends."""

    def ranges(operands: list[Interval], parameters: dict[str, Any]) -> tuple[Interval, Slopes]:
        (x,) = operands
        sound = x.lo > least
        value, (slope,) = rule(
            [Interval(jnp.where(sound, x.lo, least + 1.0), jnp.where(sound, x.hi, least + 1.0))], parameters
        )
        assert slope is not None

        def kept(found: Interval) -> Interval:
            return Interval(jnp.where(sound, found.lo, NOWHERE[0]), jnp.where(sound, found.hi, NOWHERE[1]))

        return kept(value), (kept(slope),)

    return ranges


def _wave(value: Function, slope: Function) -> Ranges:
    """Sine and cosine: they change no faster than their argument and stay within ±1."""

    def over(function: Function, x: Interval) -> Interval:
        mid, rad = x.mid, x.rad
        found = widened(function(mid) - rad, function(mid) + rad, FUNCTION, 1.0)
        return Interval(jnp.where(found.lo > -1.0, found.lo, -1.0), jnp.where(found.hi < 1.0, found.hi, 1.0))

    def ranges(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
        return over(value, operands[0]), (over(slope, operands[0]),)

    return ranges


def _logistic_slope(x: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _tanh_slope(x: jax.Array) -> jax.Array:
    return (1 - jnp.tanh(x)) * (1 + jnp.tanh(x))


def _erfc(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    """Its tail is exp(−x²), of which the rounding of x² is a part that grows until nothing is left of it, at 27."""
    (x,) = operands
    slope = _bump(_bell)(x)
    low, high = (
        widened(found, found, FUNCTION + UNIT * jnp.minimum(end * end, 27.0**2))
        for end, found in ((end, jax.lax.erfc(end)) for end in (x.hi, x.lo))
    )
    return Interval(low.lo, high.hi), (Interval(-slope.hi, -slope.lo),)


def _bell(x: jax.Array) -> jax.Array:
    return 2 / sqrt(pi) * jnp.exp(-x * x)


def _neg(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    low = -x.hi
    return Interval(low, low if x.exact else -x.lo), (constant(-1.0, x.lo),)


def _identity(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    return x, (constant(1.0, x.lo),)


def _add(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    return add(a, b), (constant(1.0, a.lo), constant(1.0, b.lo))


def _subtract(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    return subtract(a, b), (constant(1.0, a.lo), constant(-1.0, b.lo))


def _multiply(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    return multiply(a, b), (b, a)


def _divide(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    value, over = divide(a, b), reciprocal(b)
    slope = multiply(value, over)
    return value, (over, Interval(-slope.hi, -slope.lo))


def _power(operands: list[Interval], parameters: dict[str, Any]) -> tuple[Interval, Slopes]:
    """xᵏ for a whole k ≥ 0, and 1 / x⁻ᵏ below zero."""
    (x,), k = operands, int(parameters["y"])
    if k < 0:
        value, slope = _power([x], {"y": -k})[0], _power([x], {"y": 1 - k})[0]
        factor = constant(float(k), x.lo)
        return reciprocal(value), (multiply(factor, reciprocal(slope)),)
    below = _whole_power(x, k - 1) if k else constant(0.0, x.lo)
    return _whole_power(x, k), (multiply(constant(float(k), x.lo), below),)


def _whole_power(x: Interval, k: int) -> Interval:
    least, most = magnitude(x) if k % 2 == 0 else (x.lo, x.hi)
    return widened(least**k, most**k, (2 * k + 4) * 2.0**-53)


def _real_power(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    """xʸ for x > 0, all numbers elsewhere: along either operand it rises or falls all the way."""
    x, y = operands
    sound = x.lo > 0
    x = Interval(jnp.where(sound, x.lo, 1.0), jnp.where(sound, x.hi, 1.0))

    def over(y: Interval) -> Interval:
        corners = [jnp.power(a, b) for a in x for b in y]
        return spanned(corners, FUNCTION)

    def kept(found: Interval) -> Interval:
        return Interval(jnp.where(sound, found.lo, NOWHERE[0]), jnp.where(sound, found.hi, NOWHERE[1]))

    value, log = over(y), widened(jnp.log(x.lo), jnp.log(x.hi), FUNCTION)
    below = over(subtract(y, constant(1.0, y.lo)))
    return kept(value), (kept(multiply(y, below)), kept(multiply(value, log)))


def _square(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    return _power(operands, {"y": 2})


def _abs(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    return Interval(*magnitude(x)), (Interval(jnp.where(x.lo > 0, 1.0, -1.0), jnp.where(x.hi < 0, -1.0, 1.0)),)


def _max(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    value = Interval(jnp.maximum(a.lo, b.lo), jnp.maximum(a.hi, b.hi))
    return value, (_won(a.lo > b.hi, a.hi < b.lo), _won(b.lo > a.hi, b.hi < a.lo))


def _min(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    a, b = operands
    value = Interval(jnp.minimum(a.lo, b.lo), jnp.minimum(a.hi, b.hi))
    return value, (_won(a.hi < b.lo, a.lo > b.hi), _won(b.hi < a.lo, b.lo > a.hi))


def _clamp(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    low, x, high = operands

    def clamped(least: jax.Array, x: jax.Array, most: jax.Array) -> jax.Array:
        return jnp.minimum(jnp.maximum(x, least), most)

    value = Interval(clamped(low.lo, x.lo, high.lo), clamped(low.hi, x.hi, high.hi))
    inside = _won((x.lo > low.hi) & (x.hi < high.lo), (x.hi < low.lo) | (x.lo > high.hi))
    ends = Interval(jnp.zeros_like(inside.lo), jnp.ones_like(inside.hi))
    return value, (ends, inside, ends)


def _won(surely: jax.Array, never: jax.Array) -> Interval:
    return Interval(jnp.where(surely, 1.0, 0.0), jnp.where(never, 0.0, 1.0))


def relu(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    value = Interval(jnp.maximum(x.lo, 0.0), jnp.maximum(x.hi, 0.0))
    return value, (Interval(jnp.where(x.lo > 0, 1.0, 0.0), jnp.where(x.hi < 0, 0.0, 1.0)),)


def relu6(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    value = Interval(jnp.clip(x.lo, 0.0, 6.0), jnp.clip(x.hi, 0.0, 6.0))
    inside = (x.lo > 0) & (x.hi < 6)
    return value, (Interval(jnp.where(inside, 1.0, 0.0), jnp.where((x.hi < 0) | (x.lo > 6), 0.0, 1.0)),)


def logaddexp(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    """log(eᵃ + eᵇ), softplus with b = 0: the slope by a is σ(a − b)."""
    a, b = operands
    value = widened(jnp.logaddexp(a.lo, b.lo), jnp.logaddexp(a.hi, b.hi), FUNCTION, 1.0)
    first = _sigmoid(subtract(a, b))
    return value, (first, _sigmoid(subtract(b, a)))


def _sigmoid(x: Interval) -> Interval:
    return widened(jax.nn.sigmoid(x.lo), jax.nn.sigmoid(x.hi), FUNCTION)


RULES: dict[str, Ranges] = {
    "tanh": _rising(jnp.tanh, _bump(_tanh_slope)),
    "logistic": _rising(jax.nn.sigmoid, _bump(_logistic_slope)),
    "erf": _rising(jax.lax.erf, _bump(_bell)),
    "erfc": _erfc,
    "atan": _rising(jnp.arctan, _bump(lambda x: 1 / (1 + x * x))),
    "exp": _rising(jnp.exp, _monotone(jnp.exp)),
    "exp2": _rising(jnp.exp2, _monotone(lambda x: jnp.exp2(x) * jnp.log(2.0))),
    "expm1": _rising(jnp.expm1, _monotone(jnp.exp)),
    "log": _positive_only(_rising(jnp.log, _monotone(lambda x: 1 / x))),
    "log1p": _positive_only(_rising(jnp.log1p, _monotone(lambda x: 1 / (1 + x)), 0.0), -1.0),
    "sqrt": _positive_only(_rising(jnp.sqrt, _monotone(lambda x: 0.5 / jnp.sqrt(x)))),
    "sin": _wave(jnp.sin, jnp.cos),
    "cos": _wave(jnp.cos, lambda x: -jnp.sin(x)),
    "neg": _neg, "copy": _identity, "copy_p": _identity, "name": _identity, "stop_gradient": _identity,
    "add": _add, "add_any": _add, "sub": _subtract, "mul": _multiply, "div": _divide,
    "integer_pow": _power, "pow": _real_power, "square": _square, "abs": _abs, "max": _max, "min": _min, "clamp": _clamp,
}  # fmt: skip


def _rsqrt(operands: list[Interval], _: dict[str, Any]) -> tuple[Interval, Slopes]:
    (x,) = operands
    value = widened(jax.lax.rsqrt(x.hi), jax.lax.rsqrt(x.lo), FUNCTION)
    slope = widened(-0.5 / (x.lo * jnp.sqrt(x.lo)), -0.5 / (x.hi * jnp.sqrt(x.hi)), FUNCTION)
    return value, (slope,)


RULES["rsqrt"] = _positive_only(_rsqrt)
