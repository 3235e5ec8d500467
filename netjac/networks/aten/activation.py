"""torch.nn's activations, each with torch's own derivative at its kinks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.registry import dtype_of, op

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@op("relu")
def relu(x: Any) -> Any:
    return jax.nn.relu(x)


@op("relu6")
def relu6(x: Any) -> Any:
    return hardtanh(x, 0.0, 6.0)


@op("hardtanh")
def hardtanh(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """Inside the open interval the derivative is 1, at its ends and outside 0."""
    inside = (x > low) & (x < high)
    bound = jnp.where(x >= high, jnp.asarray(high, x.dtype), jnp.asarray(low, x.dtype))
    return jnp.where(inside, x, bound)


@op("leaky_relu")
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    return jnp.where(x > 0, x, slope * x)


@op("prelu", "_prelu_kernel")
def prelu(x: Any, weight: Any) -> Any:
    if weight.size > 1 and weight.ndim == 1 and x.ndim > 1:
        weight = weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return jnp.where(x > 0, x, weight * x)


@op("rrelu")
def rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any) -> Any:
    return leaky_relu(x, (lower + upper) / 2)


@op("elu")
def elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    negative = jnp.where(x > 0, 0.0, x).astype(x.dtype)
    return jnp.where(x > 0, scale * x, scale * alpha * jnp.expm1(input_scale * negative))


@op("selu")
def selu(x: Any) -> Any:
    return elu(x, SELU_ALPHA, SELU_SCALE)


@op("celu")
def celu(x: Any, alpha: float = 1.0) -> Any:
    return elu(x, alpha, 1.0, 1.0 / alpha)


@op("gelu")
def gelu(x: Any, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@op("silu")
def silu(x: Any) -> Any:
    return x * jax.nn.sigmoid(x)


@op("mish")
def mish(x: Any) -> Any:
    return x * jnp.tanh(softplus(x))


@op("softplus")
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = x * beta
    small = jnp.where(scaled > threshold, 0.0, scaled).astype(x.dtype)
    return jnp.where(scaled > threshold, x, jnp.logaddexp(small, 0.0) / beta)


@op("log_sigmoid")
def log_sigmoid(x: Any) -> Any:
    return -jnp.logaddexp(-x, 0.0)


@op("log_sigmoid_forward")
def log_sigmoid_forward(x: Any) -> Any:
    return log_sigmoid(x), jnp.zeros((0,), x.dtype)


@op("hardswish")
def hardswish(x: Any) -> Any:
    return jnp.where(x <= -3, 0.0, jnp.where(x < 3, x * (x / 6 + 0.5), x)).astype(x.dtype)


@op("hardsigmoid")
def hardsigmoid(x: Any) -> Any:
    inside = (x > -3) & (x < 3)
    return jnp.where(inside, x / 6 + 0.5, jnp.where(x >= 3, 1.0, 0.0)).astype(x.dtype)


@op("hardshrink")
def hardshrink(x: Any, bound: float = 0.5) -> Any:
    return jnp.where((x >= -bound) & (x <= bound), jnp.zeros_like(x), x)


@op("softshrink")
def softshrink(x: Any, bound: float = 0.5) -> Any:
    return jnp.where(x > bound, x - bound, jnp.where(x < -bound, x + bound, jnp.zeros_like(x)))


@op("threshold")
def threshold(x: Any, bound: float, value: float) -> Any:
    return jnp.where(x > bound, x, jnp.asarray(value, x.dtype))


@op("glu")
def glu(x: Any, dim: int = -1) -> Any:
    a, b = jnp.split(x, 2, dim)
    return a * jax.nn.sigmoid(b)


@op("_safe_softmax")
def safe_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    nowhere = jnp.all(x == -jnp.inf, dim, keepdims=True)
    return jnp.where(nowhere, 0, softmax(jnp.where(nowhere, 0, x), dim, dtype))


@op("softmax.int", "_softmax")
def softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    return jax.nn.softmax(_converted(x, dtype), dim)


@op("log_softmax.int", "_log_softmax")
def log_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    return jax.nn.log_softmax(_converted(x, dtype), dim)


def _converted(x: Any, dtype: Any) -> Any:
    return x if dtype is None or isinstance(dtype, bool) else x.astype(dtype_of(dtype))


@op("logit")
def logit(x: Any, eps: float | None = None) -> Any:
    x = x if eps is None else jnp.clip(x, eps, 1 - eps)
    return jnp.log(x / (1 - x))
