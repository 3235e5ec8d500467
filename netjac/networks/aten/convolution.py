"""Convolutions and transposed convolutions in 1 to 3 dimensions, channels first."""

from __future__ import annotations

from collections.abc import Sequence
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
    y = convolved(x, weight, bias, strides, pads, dilations, groups)
    return y[0] if alone else y


def convolved(
    x: Any,
    weight: Any,
    bias: Any,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
) -> Any:
    """The convolution of a batch, `pads` before and behind each axis of places."""
    y = lax.conv_general_dilated(
        x,
        weight,
        strides,
        pads,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=_layout(weight.ndim - 2),
    )
    return _shifted(y, bias)


def _same(kernel: Any, dilations: list[int]) -> list[tuple[int, int]]:
    """torch's "same": the smaller half of an odd total in front."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def _layout(rank: int) -> tuple[str, str, str]:
    places = "DHW"[3 - rank :]
    return f"NC{places}", f"OI{places}", f"NC{places}"


def _shifted(y: Any, bias: Any) -> Any:
    return y if bias is None else y + bias.reshape((-1,) + (1,) * (y.ndim - 2))


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
    rank = weight.ndim - 2
    alone = x.ndim == rank + 1
    pads = [(p, p - extra) for p, extra in zip(listed(padding, rank), listed(output_padding, rank), strict=True)]
    y = spread(x[None] if alone else x, weight, bias, listed(stride, rank), pads, listed(dilation, rank), groups)
    return y[0] if alone else y


def spread(
    x: Any,
    weight: Any,
    bias: Any,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
) -> Any:
    """A transposed convolution of a batch: one of the input spread out by the stride, with the kernel turned round.

    `pads` are what is taken off before and behind each axis of places.
    """
    rank = weight.ndim - 2
    around = [
        (d * (k - 1) - before, d * (k - 1) - behind)
        for k, d, (before, behind) in zip(weight.shape[2:], dilations, pads, strict=True)
    ]
    inputs, outputs = weight.shape[0], weight.shape[1]
    turned = jnp.flip(weight, tuple(range(2, rank + 2)))
    turned = turned.reshape(groups, inputs // groups, outputs, *weight.shape[2:])
    turned = jnp.swapaxes(turned, 1, 2).reshape(groups * outputs, inputs // groups, *weight.shape[2:])
    y = lax.conv_general_dilated(
        x,
        turned,
        (1,) * rank,
        around,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=_layout(rank),
    )
    return _shifted(y, bias)


@op("convolution")
def general(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, flipped: bool, extra: Any, groups: int
) -> Any:
    if flipped:
        return transposed(x, weight, bias, stride, padding, extra, groups, dilation)
    return convolution(x, weight, bias, stride, padding, dilation, groups)
