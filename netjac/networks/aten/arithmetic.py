"""Entry-by-entry arithmetic, comparisons, and making of tensors."""

from __future__ import annotations

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import DrawsError, dtype_of, op

UNARY: dict[str, Any] = {
    "abs": lambda x: jnp.abs(x) if jnp.iscomplexobj(x) else jnp.sign(x) * x, "acos": jnp.arccos, "acosh": jnp.arccosh,
    "asin": jnp.arcsin, "asinh": jnp.arcsinh, "atan": jnp.arctan, "atanh": jnp.arctanh, "ceil": jnp.ceil, "cos": jnp.cos,
    "cosh": jnp.cosh, "erf": lax.erf,
    "erfc": lax.erfc, "erfinv": lax.erf_inv, "exp": jnp.exp, "exp2": jnp.exp2, "expm1": jnp.expm1, "floor": jnp.floor,
    "frac": lambda x: x - lax.stop_gradient(jnp.trunc(x)), "isnan": jnp.isnan, "isinf": jnp.isinf, "lgamma": lax.lgamma,
    "log": jnp.log, "log10": jnp.log10, "log1p": jnp.log1p, "log2": jnp.log2, "logical_not": jnp.logical_not,
    "neg": jnp.negative, "_neg_view": jnp.negative, "bitwise_not": jnp.invert, "reciprocal": lambda x: 1 / x,
    "round": jnp.round, "rsqrt": lax.rsqrt, "sigmoid": jax.nn.sigmoid, "sign": jnp.sign, "sgn": jnp.sign,
    "sin": jnp.sin, "sinh": jnp.sinh,
    "sqrt": jnp.sqrt, "square": jnp.square, "tan": jnp.tan, "tanh": jnp.tanh, "trunc": jnp.trunc, "digamma": lax.digamma,
    "deg2rad": jnp.deg2rad, "rad2deg": jnp.rad2deg, "sinc": jnp.sinc, "isneginf": jnp.isneginf, "isposinf": jnp.isposinf,
    "isfinite": jnp.isfinite, "i0": jax.scipy.special.i0, "special_i0e": jax.scipy.special.i0e,
    "special_i1": jax.scipy.special.i1, "special_i1e": jax.scipy.special.i1e, "special_ndtri": jax.scipy.special.ndtri,
    "special_log_ndtr": jax.scipy.special.log_ndtr,
}  # fmt: skip
for _name in UNARY:
    op(_name)(UNARY[_name])

BINARY: dict[str, Any] = {
    "mul": jnp.multiply, "atan2": jnp.arctan2, "eq": jnp.equal, "ne": jnp.not_equal, "lt": jnp.less,
    "le": jnp.less_equal, "gt": jnp.greater, "ge": jnp.greater_equal, "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or, "logical_xor": jnp.logical_xor, "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or, "bitwise_xor": jnp.bitwise_xor, "remainder": jnp.remainder, "fmod": jnp.fmod,
    "floor_divide": jnp.floor_divide, "hypot": jnp.hypot, "copysign": jnp.copysign, "maximum": jnp.maximum,
    "minimum": jnp.minimum,  "xlogy": jax.scipy.special.xlogy,
    "logaddexp": jnp.logaddexp, "logaddexp2": jnp.logaddexp2, "heaviside": jnp.heaviside,
}  # fmt: skip
for _name in BINARY:
    op(_name, f"{_name}.Tensor", f"{_name}.Scalar", f"{_name}.Scalar_Tensor", f"{_name}.Tensor_Scalar")(BINARY[_name])
op("max.other")(jnp.maximum)
op("min.other")(jnp.minimum)

PYTHON: dict[str, Any] = {
    "getitem": operator.getitem, "mul": operator.mul, "add": operator.add, "sub": operator.sub, "floordiv": operator.floordiv,
    "truediv": operator.truediv, "mod": operator.mod, "neg": operator.neg, "pow": operator.pow, "eq": operator.eq,
    "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "and_": operator.and_,
    "or_": operator.or_, "not_": operator.not_,
    "sym_max": max, "sym_min": min, "sym_float": float, "sym_int": int, "sym_not": operator.not_, "sym_sqrt": math.sqrt,
}  # fmt: skip
"""Arithmetic on sizes, which are plain numbers by the time a graph is interpreted."""


@op("fmax")
def fmax(a: Any, b: Any) -> Any:
    """At a tie the first has all of the derivative, as in torch."""
    return jnp.where((a >= b) | jnp.isnan(b), a, b)


@op("fmin")
def fmin(a: Any, b: Any) -> Any:
    return jnp.where((a <= b) | jnp.isnan(b), a, b)


@op("round.decimals")
def round_to(x: Any, decimals: int) -> Any:
    return jnp.round(x, decimals)


@op("add.Tensor", "add.Scalar")
def add(a: Any, b: Any, alpha: Any = 1) -> Any:
    return a + (b if alpha == 1 else alpha * b)


@op("sub.Tensor", "sub.Scalar")
def subtract(a: Any, b: Any, alpha: Any = 1) -> Any:
    return a - (b if alpha == 1 else alpha * b)


@op("rsub.Tensor", "rsub.Scalar")
def reversed_subtract(a: Any, b: Any, alpha: Any = 1) -> Any:
    return subtract(b, a, alpha)


@op("div.Tensor", "div.Scalar", "true_divide.Tensor")
def divide(a: Any, b: Any) -> Any:
    return jnp.true_divide(a, b)


@op("div.Tensor_mode", "div.Scalar_mode")
def rounded_divide(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return jnp.true_divide(a, b)
    quotient = jnp.trunc(jnp.true_divide(a, b)) if rounding_mode == "trunc" else jnp.floor_divide(a, b)
    return quotient.astype(jnp.result_type(a, b))


@op("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(a: Any, b: Any) -> Any:
    if isinstance(b, int | float) and float(b).is_integer() and abs(b) < 64:
        return lax.integer_pow(a, int(b)) if jnp.issubdtype(a.dtype, jnp.inexact) else a ** int(b)
    return jnp.power(a, b)


@op("addcmul")
def addcmul(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    return x + value * a * b


@op("addcdiv")
def addcdiv(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    return x + value * a / b


@op("lerp.Scalar", "lerp.Tensor")
def interpolate(a: Any, b: Any, weight: Any) -> Any:
    return a + weight * (b - a)


@op("clamp", "clamp.Tensor", "clip")
def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    """At a bound the derivative is 1, as in torch."""
    y = x
    if min is not None:
        y = jnp.where(x >= min, x, jnp.asarray(min, x.dtype))
    if max is not None:
        y = jnp.where(y <= max, y, jnp.asarray(max, x.dtype))
    return y


@op("clamp_min", "clamp_min.Tensor")
def clamp_min(x: Any, min: Any) -> Any:
    return clamp(x, min=min)


@op("clamp_max", "clamp_max.Tensor")
def clamp_max(x: Any, max: Any) -> Any:
    return clamp(x, max=max)


@op("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(condition: Any, a: Any, b: Any) -> Any:
    return jnp.where(condition, a, b)


@op("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return jnp.where(mask, jnp.asarray(value, x.dtype), x)


@op("masked_scatter")
def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """The entries under the mask are those of the source, one after another."""
    mask = jnp.broadcast_to(mask, x.shape)
    place = jnp.cumsum(mask.reshape(-1)) - 1
    return jnp.where(mask, jnp.take(source.reshape(-1), place, mode="clip").reshape(x.shape), x)


@op("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
def dropout(x: Any, p: float = 0.5, train: bool = False) -> Any:
    if train and p > 0:
        raise DrawsError
    return x


@op("native_dropout")
def native_dropout(x: Any, p: float, train: bool | None) -> Any:
    return dropout(x, p, train is not False), jnp.ones(x.shape, bool)


@op("clone", "alias", "contiguous", "lift_fresh", "lift_fresh_copy", "resolve_conj", "resolve_neg",
    "positive", "_assert_tensor_metadata")  # fmt: skip
def unchanged(x: Any, *_args: Any, **_kwargs: Any) -> Any:
    return x


@op("detach")
def detach(x: Any) -> Any:
    return lax.stop_gradient(x)


@op("fill.Tensor", "fill.Scalar")
def fill(x: Any, value: Any) -> Any:
    return jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape)


@op("copy")
def copy(x: Any, source: Any, _non_blocking: bool = False) -> Any:
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)


def _made(shape: Any, value: Any, dtype: Any) -> Any:
    return jnp.full(shape, value, dtype_of(dtype) if dtype is not None else jnp.result_type(float))


@op("zeros")
def zeros(size: Any, dtype: Any = None, **_: Any) -> Any:
    return _made(size, 0, dtype)


@op("ones")
def ones(size: Any, dtype: Any = None, **_: Any) -> Any:
    return _made(size, 1, dtype)


@op("full")
def full(size: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return _made(size, value, dtype) if dtype is not None else jnp.full(size, value)


@op("empty.memory_format")
def empty(size: Any, dtype: Any = None, **_: Any) -> Any:
    return _made(size, 0, dtype)


def _like(x: Any, dtype: Any) -> Any:
    return x.dtype if dtype is None else dtype_of(dtype)


@op("zeros_like", "empty_like")
def zeros_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.zeros(x.shape, _like(x, dtype))


@op("ones_like")
def ones_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.ones(x.shape, _like(x, dtype))


@op("full_like")
def full_like(x: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.full(x.shape, value, _like(x, dtype))


@op("new_zeros", "new_empty")
def new_zeros(x: Any, size: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.zeros(size, _like(x, dtype))


@op("new_ones")
def new_ones(x: Any, size: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.ones(size, _like(x, dtype))


@op("new_full")
def new_full(x: Any, size: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return jnp.full(size, value, _like(x, dtype))


@op("scalar_tensor")
def scalar_tensor(value: Any, dtype: Any = None, **_: Any) -> Any:
    return _made((), value, dtype)


@op("arange", "arange.start", "arange.start_step")
def arange(*bounds: Any, dtype: Any = None, **_: Any) -> Any:
    made = jnp.arange(*bounds)
    return made if dtype is None else made.astype(dtype_of(dtype))


@op("linspace")
def linspace(start: Any, end: Any, steps: int, dtype: Any = None, **_: Any) -> Any:
    return jnp.linspace(start, end, steps, dtype=None if dtype is None else dtype_of(dtype))


@op("eye", "eye.m")
def eye(n: int, m: int | None = None, dtype: Any = None, **_: Any) -> Any:
    return jnp.eye(n, m, dtype=jnp.result_type(float) if dtype is None else dtype_of(dtype))


@op("cumsum")
def cumulative_sum(x: Any, dim: int, dtype: Any = None) -> Any:
    return jnp.cumsum(x, dim, dtype=None if dtype is None else dtype_of(dtype))


@op("cumprod")
def cumulative_product(x: Any, dim: int, dtype: Any = None) -> Any:
    return jnp.cumprod(x, dim, dtype=None if dtype is None else dtype_of(dtype))
