"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.aten import normalization as torch
from netjac.networks.aten.reduction import norm
from netjac.networks.onnx_operators.registry import Node, operator


@operator("BatchNormalization")
def batch(node: Node, x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
    """By the running statistics; by the batch's own only where the model says `training_mode`."""
    eps = node.get("epsilon", 1e-5)
    if not node.get("training_mode", 0):
        if node.get("spatial", 1) == 0:
            raise NotImplementedError("statistics for each place, spatial=0")
        return torch.batch_norm(x, scale, shift, mean, variance, eps)
    y, _, _ = torch.batch_norm_on_the_batch(x, scale, shift, True, 0.0, eps)
    axes = (0, *range(2, x.ndim))
    kept = node.get("momentum", 0.9)
    return y, kept * mean + (1 - kept) * x.mean(axes), kept * variance + (1 - kept) * x.var(axes)


@operator("InstanceNormalization")
def instance(node: Node, x: Any, scale: Any, shift: Any) -> Any:
    return torch.instance_norm(x, scale, shift, None, None, True, 0.0, node.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer(node: Node, x: Any, scale: Any, shift: Any = None) -> Any:
    first, eps = node.get("axis", -1) % x.ndim, node.get("epsilon", 1e-5)
    y = torch.layer_norm(x, x.shape[first:], scale, shift, eps)
    if not (node.gives(1) or node.gives(2)):
        return y
    axes = tuple(range(first, x.ndim))
    return y, x.mean(axes, keepdims=True), lax.rsqrt(x.var(axes, keepdims=True) + eps)


@operator("GroupNormalization")
def group(node: Node, x: Any, scale: Any, shift: Any) -> Any:
    """Before opset 21, scale and shift are one for each group."""
    groups = node.attributes["num_groups"]
    if node.opset < 21:
        scale, shift = (jnp.repeat(v, x.shape[1] // groups) for v in (scale, shift))
    return torch.group_norm(x, groups, scale, shift, node.get("epsilon", 1e-5))


@operator("RMSNormalization")
def root_mean_square(node: Node, x: Any, scale: Any) -> Any:
    first = node.get("axis", -1) % x.ndim
    return torch.rms_norm(x, x.shape[first:], scale, node.get("epsilon", 1e-5))


@operator("LRN")
def across_channels(node: Node, x: Any) -> Any:
    """x / (bias + α/size Σ x²)^β, the sum over the nearest `size` channels (Krizhevsky et al. 2012, section 3.3)."""
    size = node.attributes["size"]
    before = (size - 1) // 2
    window = (1, size, *(1,) * (x.ndim - 2))
    pads = [(0, 0), (before, size - 1 - before), *((0, 0),) * (x.ndim - 2)]
    total = lax.reduce_window(jnp.square(x), np.zeros((), x.dtype), lax.add, window, (1,) * x.ndim, pads)
    return x / (node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * total) ** node.get("beta", 0.75)


@operator("LpNormalization")
def to_length_one(node: Node, x: Any) -> Any:
    """x over its norm; 0 where that is 0."""
    length = norm(x, node.get("p", 2), (node.get("axis", -1),), True)
    return jnp.where(length > 0, x / jnp.where(length > 0, length, 1), 0)
