"""Convolutions and transposed convolutions in 1 to 3 dimensions, channels first."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import listed, op


@op("conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding")
def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    rank = weight.ndim - 2
    alone = x.ndim == rank + 1
    x = x[None] if alone else x
    strides, dilations = listed(stride, rank), listed(dilation, rank)
    if isinstance(padding, str):
        pads = [(0, 0)] * rank if padding == "valid" else _same(weight.shape[2:], dilations)
    else:
        pads = [(p, p) for p in listed(padding, rank)]
    y = lax.conv_general_dilated(
        x, weight, strides, pads, rhs_dilation=dilations, feature_group_count=groups, dimension_numbers=_layout(rank)
    )
    return _finished(y, bias, alone)


def _same(kernel: Any, dilations: list[int]) -> list[tuple[int, int]]:
    """torch's "same": the smaller half of an odd total in front."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def _layout(rank: int) -> tuple[str, str, str]:
    places = "DHW"[3 - rank :]
    return f"NC{places}", f"OI{places}", f"NC{places}"


def _finished(y: Any, bias: Any, alone: bool) -> Any:
    if bias is not None:
        y = y + bias.reshape((-1,) + (1,) * (y.ndim - 2))
    return y[0] if alone else y


@op("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input")
def transposed(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """A convolution of the input spread out by the stride, with the kernel turned round."""
    rank = weight.ndim - 2
    alone = x.ndim == rank + 1
    x = x[None] if alone else x
    strides, dilations = listed(stride, rank), listed(dilation, rank)
    pads = [
        (d * (k - 1) - p, d * (k - 1) - p + extra)
        for k, d, p, extra in zip(
            weight.shape[2:], dilations, listed(padding, rank), listed(output_padding, rank), strict=True
        )
    ]
    inputs, outputs = weight.shape[0], weight.shape[1]
    turned = jnp.flip(weight, tuple(range(2, rank + 2)))
    turned = turned.reshape(groups, inputs // groups, outputs, *weight.shape[2:])
    turned = jnp.swapaxes(turned, 1, 2).reshape(groups * outputs, inputs // groups, *weight.shape[2:])
    y = lax.conv_general_dilated(
        x,
        turned,
        (1,) * rank,
        pads,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=_layout(rank),
    )
    return _finished(y, bias, alone)


@op("convolution")
def general(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, flipped: bool, extra: Any, groups: int
) -> Any:
    if flipped:
        return transposed(x, weight, bias, stride, padding, extra, groups, dilation)
    return convolution(x, weight, bias, stride, padding, dilation, groups)
