"""Entry-by-entry arithmetic, comparisons, casts and running sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx import helper

from netjac.networks.aten import arithmetic as torch
from netjac.networks.onnx_operators.folding import is_known
from netjac.networks.onnx_operators.registry import DrawsError, Node, integers, operator

UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan", "Atanh": "atanh",
    "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor", "IsNaN": "isnan", "Log": "log",
    "Not": "logical_not", "Neg": "neg", "BitwiseNot": "bitwise_not", "Reciprocal": "reciprocal", "Round": "round",
    "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
for _name, _own in UNARY.items():
    operator(_name)(lambda node, x, _f=torch.UNARY[_own]: _f(x))

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": jnp.add, "Sub": jnp.subtract, "Mul": jnp.multiply, "And": jnp.logical_and, "Or": jnp.logical_or,
    "Xor": jnp.logical_xor, "Equal": jnp.equal, "Less": jnp.less, "LessOrEqual": jnp.less_equal, "Greater": jnp.greater,
    "GreaterOrEqual": jnp.greater_equal, "BitwiseAnd": jnp.bitwise_and, "BitwiseOr": jnp.bitwise_or,
    "BitwiseXor": jnp.bitwise_xor,
}  # fmt: skip
for _name, _function in BINARY.items():
    operator(_name)(lambda node, a, b, _f=_function: _f(a, _spread(node, a, b)))


def _spread(node: Node, a: Any, b: Any) -> Any:
    """b as it is; before opset 7, laid along a's axes from `axis` on."""
    if node.opset >= 7 or not node.get("broadcast", 0) or "axis" not in node.attributes:
        return b
    axis = node.attributes["axis"] % a.ndim
    return jnp.reshape(b, (*b.shape, *(1,) * (a.ndim - axis - b.ndim)))


@operator("Div")
def divide(node: Node, a: Any, b: Any) -> Any:
    """Integers are divided towards zero."""
    b = _spread(node, a, b)
    if jnp.issubdtype(a.dtype, jnp.floating):
        return jnp.true_divide(a, b)
    return lax.div(*jnp.broadcast_arrays(a, b))


@operator("Pow", fixed=(1,))
def power(node: Node, a: Any, b: Any) -> Any:
    if is_known(b) and b.size == 1:
        exponent = float(b.reshape(-1)[0])
        return jnp.reshape(torch.power(a, exponent), jnp.broadcast_shapes(a.shape, b.shape)).astype(a.dtype)
    return jnp.power(a, _spread(node, a, jnp.asarray(b))).astype(a.dtype)


@operator("Mod")
def remainder(node: Node, a: Any, b: Any) -> Any:
    return jnp.fmod(a, b) if node.get("fmod", 0) else jnp.remainder(a, b)


@operator("BitShift")
def shifted(node: Node, a: Any, b: Any) -> Any:
    return jnp.left_shift(a, b) if node.attributes["direction"] == "LEFT" else jnp.right_shift(a, b)


@operator("IsInf")
def is_infinite(node: Node, x: Any) -> Any:
    up, down = node.get("detect_positive", 1), node.get("detect_negative", 1)
    return ((x == jnp.inf) & bool(up)) | ((x == -jnp.inf) & bool(down))


operator("Sum")(lambda _, *values: reduce(jnp.add, values))
operator("Max")(lambda _, *values: reduce(jnp.maximum, values))
operator("Min")(lambda _, *values: reduce(jnp.minimum, values))
operator("Mean")(lambda _, *values: reduce(jnp.add, values) / len(values))
operator("Where")(lambda _, condition, a, b: jnp.where(condition, a, b))
operator("Identity")(lambda _, x: x)
operator("Constant")(lambda node: next(iter(node.attributes.values())))


@operator("Clip", fixed=(1, 2))
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    """At a bound the derivative is 0, as of torch's relu6, which exporters write so; above the upper bound that bound holds."""
    if node.opset < 11:
        low, high = node.get("min"), node.get("max")
    y = x if low is None else jnp.where(x > low, x, jnp.asarray(low, x.dtype))
    return y if high is None else jnp.where(y < high, y, jnp.asarray(high, x.dtype))


@operator("Dropout", "AlphaDropout", known=(1, 2))
def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """x, as long as it does not train."""
    rate = node.get("ratio", 0.5) if ratio is None else float(ratio)
    training = not node.get("is_test", 0) and node.opset < 7 if training is None else bool(training)
    if training and rate > 0:
        raise DrawsError
    return x, jnp.ones(x.shape, bool)


@operator("Cast")
def cast(node: Node, x: Any) -> Any:
    return _as_type(x, np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"])))


operator("CastLike")(lambda node, x, other: _as_type(x, np.dtype(other.dtype)))


def _as_type(x: Any, target: np.dtype) -> Any:
    """Between float32 and float64 a value stays in the dtype of the computation; to and from half it is rounded."""
    if target.kind not in "biuf" and target != jnp.bfloat16:
        raise NotImplementedError(f"numbers as {target}")
    if not jnp.issubdtype(target, jnp.floating):
        return x.astype(jax.dtypes.canonicalize_dtype(target))
    if target.itemsize < 2:
        raise NotImplementedError(f"numbers as {target}")
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(target) if target.itemsize == 2 or x.dtype.itemsize == 2 else x
    return x.astype(target if target.itemsize == 2 else jnp.result_type(float))


def _running(node: Node, x: Any, axis: Any, function: Callable[..., Any], start: float) -> Any:
    """Over all entries up to each one; without its own with `exclusive`, from the end with `reverse`."""
    along = integers(axis)[0] % x.ndim
    backwards, without = bool(node.get("reverse", 0)), bool(node.get("exclusive", 0))
    x = jnp.flip(x, along) if backwards else x
    if without:
        head = jnp.full_like(lax.slice_in_dim(x, 0, 1, axis=along), start)
        x = jnp.concatenate([head, lax.slice_in_dim(x, 0, x.shape[along] - 1, axis=along)], along)
    y = function(x, axis=along)
    return jnp.flip(y, along) if backwards else y


operator("CumSum", known=(1,))(lambda node, x, axis: _running(node, x, axis, jnp.cumsum, 0))
operator("CumProd", known=(1,))(lambda node, x, axis: _running(node, x, axis, jnp.cumprod, 1))
