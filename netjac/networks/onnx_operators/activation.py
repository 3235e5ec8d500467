"""Activations, most of them torch's (`netjac.networks.aten.activation`), with torch's derivatives at their kinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten import activation as torch
from netjac.networks.onnx_operators.registry import Node, operator

MICROSOFT = "com.microsoft"

operator("Relu")(lambda _, x: torch.relu(x))
operator("HardSwish")(lambda _, x: torch.hardswish(x))
operator("Mish")(lambda _, x: torch.mish(x))
operator("Softplus")(lambda _, x: jax.nn.softplus(x))
operator("Softsign")(lambda _, x: x / (1 + jnp.abs(x)))
operator("LeakyRelu")(lambda node, x: torch.leaky_relu(x, node.get("alpha", 0.01)))
operator("Elu")(lambda node, x: torch.elu(x, node.get("alpha", 1.0)))
operator("Celu")(lambda node, x: torch.celu(x, node.get("alpha", 1.0)))
operator("ThresholdedRelu")(lambda node, x: torch.threshold(x, node.get("alpha", 1.0), 0.0))
operator("Gelu")(lambda node, x: torch.gelu(x, node.get("approximate", "none")))
operator("Gelu", domain=MICROSOFT)(lambda _, x: torch.gelu(x))
operator("QuickGelu", domain=MICROSOFT)(lambda node, x: x * jax.nn.sigmoid(node.get("alpha", 1.702) * x))


@operator("Selu")
def selu(node: Node, x: Any) -> Any:
    return torch.elu(x, node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875))


@operator("PRelu")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    if node.opset < 7 and slope.ndim == 1 and x.ndim > 2:  # one for each channel
        slope = slope.reshape((-1,) + (1,) * (x.ndim - 2))
    return jnp.where(x > 0, x, slope * x)


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    return torch.hardtanh(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


@operator("Swish")
def swish(node: Node, x: Any) -> Any:
    alpha = node.get("alpha", 1.0)
    return torch.silu(x) if alpha == 1 else x * jax.nn.sigmoid(alpha * x)


@operator("Shrink")
def shrink(node: Node, x: Any) -> Any:
    bound, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return jnp.where(x > bound, x - bias, jnp.where(x < -bound, x + bias, jnp.zeros_like(x)))


def over_axis(node: Node, x: Any, function: Callable[[Any, int], Any]) -> Any:
    """A function of one axis; before opset 13 of all axes from `axis` on, taken as one."""
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis = node.get("axis", 1) % max(x.ndim, 1)
    if axis == x.ndim - 1:
        return function(x, -1)
    return function(x.reshape((*x.shape[:axis], -1)), -1).reshape(x.shape)


operator("Softmax")(lambda node, x: over_axis(node, x, torch.softmax))
operator("LogSoftmax")(lambda node, x: over_axis(node, x, torch.log_softmax))


@operator("Hardmax")
def hardmax(node: Node, x: Any) -> Any:
    """1 at the first of the largest, else 0."""

    def largest(values: Any, axis: int) -> Any:
        return jax.nn.one_hot(jnp.argmax(values, axis), values.shape[axis], axis=axis, dtype=values.dtype)

    return over_axis(node, x, largest)
