"""Pooling, channels first; where maxima tie, the first entry of the window has the derivative, as in torch."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from netjac.networks.aten.pooling import first_max, window_counts, window_maximum, window_sum
from netjac.networks.aten.reduction import root
from netjac.networks.onnx_operators.convolution import Pads, pads_of, per_axis
from netjac.networks.onnx_operators.registry import Node, operator


def _windows(node: Node, x: Any) -> tuple[list[int], list[int], list[int], Pads, Pads]:
    """Sizes, strides, dilations, the padding that is asked for, and that with what `ceil_mode` adds behind.

    A window that would begin in the padding behind is left out.
    """
    sizes = list(node.attributes["kernel_shape"])
    rank = len(sizes)
    strides, dilations = per_axis(node, "strides", rank), per_axis(node, "dilations", rank)
    asked = pads_of(node, x.shape[2:], sizes, strides, dilations)
    for n, size, dilation, pads in zip(x.shape[2:], sizes, dilations, asked, strict=True):
        if dilation * (size - 1) + 1 > n + sum(pads):
            raise NotImplementedError(
                f"its window reaches over {dilation * (size - 1) + 1} entries, of {n + sum(pads)}"
            )
    if not node.get("ceil_mode", 0):
        return sizes, strides, dilations, asked, asked
    grown = []
    for n, size, stride, dilation, (before, behind) in zip(x.shape[2:], sizes, strides, dilations, asked, strict=True):
        reach = dilation * (size - 1) + 1
        count = -(-(n + before + behind - reach) // stride) + 1
        if (count - 1) * stride >= n + before:
            count -= 1
        grown.append((before, max(behind, (count - 1) * stride + reach - n - before)))
    return sizes, strides, dilations, asked, grown


@operator("MaxPool")
def maximum(node: Node, x: Any) -> Any:
    if node.gives(1):
        raise NotImplementedError("the indices of the maxima")
    sizes, strides, dilations, _, pads = _windows(node, x)
    return window_maximum(x, sizes, strides, pads, dilations)


@operator("AveragePool")
def average(node: Node, x: Any) -> Any:
    sizes, strides, dilations, asked, pads = _windows(node, x)
    counted = asked if node.get("count_include_pad", 0) else [(0, 0)] * len(sizes)
    counts = window_counts(x.shape[2:], sizes, strides, pads, dilations, counted)
    return window_sum(x, sizes, strides, pads, dilations) / counts.astype(x.dtype)


@operator("LpPool")
def power_mean(node: Node, x: Any) -> Any:
    """(Σ |x|ᵖ)^(1/p) of each window."""
    sizes, strides, dilations, _, pads = _windows(node, x)
    order = node.get("p", 2)
    return _rooted(window_sum(_powers(x, order), sizes, strides, pads, dilations), order)


def _powers(x: Any, order: float) -> Any:
    return jnp.square(x) if order == 2 else jnp.abs(x) ** order


def _rooted(total: Any, order: float) -> Any:
    """total^(1/p), with derivative 0 at 0."""
    if order == 2:
        return root(total)
    return total if order == 1 else jnp.where(total > 0, jnp.where(total > 0, total, 1) ** (1 / order), 0)


def _places(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


operator("GlobalAveragePool")(lambda _, x: x.mean(_places(x), keepdims=True))


@operator("GlobalMaxPool")
def largest(node: Node, x: Any) -> Any:
    return first_max(x.reshape(*x.shape[:2], -1), 2).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


@operator("GlobalLpPool")
def norm(node: Node, x: Any) -> Any:
    order = node.get("p", 2)
    return _rooted(_powers(x, order).sum(_places(x), keepdims=True), order)
