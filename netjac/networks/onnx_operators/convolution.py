"""Convolutions and transposed convolutions, channels first, and where windows lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netjac.networks.aten.convolution import convolved, spread
from netjac.networks.onnx_operators.registry import Node, operator

Pads = list[tuple[int, int]]


def per_axis(node: Node, name: str, rank: int, default: int = 1) -> list[int]:
    """One number for each axis of places."""
    return list(node.get(name) or [default] * rank)


def pads_of(
    node: Node, shape: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads:
    """Padding before and behind each axis, as `pads` or `auto_pad` say."""
    rank, auto = len(sizes), node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return [(0, 0)] * rank
    if auto.startswith("SAME"):
        found = []
        for n, size, stride, dilation in zip(shape, sizes, strides, dilations, strict=True):
            total = (-(-n // stride) - 1) * stride + dilation * (size - 1) + 1 - n
            if total < -1 and node.kind != "Conv":
                raise NotImplementedError(f"auto_pad {auto} with a stride beyond the window, on which runtimes differ")
            found.append(_halves(max(total, 0), auto == "SAME_UPPER"))
        return found
    pads = per_axis(node, "pads", 2 * rank, 0)
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _halves(total: int, more_behind: bool) -> tuple[int, int]:
    small = total // 2
    return (small, total - small) if more_behind else (total - small, small)


@operator("Conv")
def convolution(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = weight.ndim - 2
    strides, dilations = per_axis(node, "strides", rank), per_axis(node, "dilations", rank)
    pads = pads_of(node, x.shape[2:], weight.shape[2:], strides, dilations)
    return convolved(x, weight, bias, strides, pads, dilations, node.get("group", 1))


@operator("ConvTranspose")
def transposed(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    """`output_shape` or `auto_pad` say how much is taken off, where `pads` do not."""
    rank, auto = weight.ndim - 2, node.get("auto_pad", "NOTSET")
    strides, dilations = per_axis(node, "strides", rank), per_axis(node, "dilations", rank)
    extra = per_axis(node, "output_padding", rank, 0)
    wanted = node.get("output_shape")
    if not wanted and auto.startswith("SAME"):
        if any(d * (k - 1) + 1 < s for k, d, s in zip(weight.shape[2:], dilations, strides, strict=True)):
            raise NotImplementedError(f"auto_pad {auto} with a stride beyond the kernel, on which runtimes differ")
        wanted = [n * stride for n, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted:
        pads = []
        for n, size, stride, dilation, more, out in zip(
            x.shape[2:], weight.shape[2:], strides, dilations, extra, list(wanted)[-rank:], strict=True
        ):
            total = stride * (n - 1) + more + dilation * (size - 1) + 1 - out
            pads.append(_halves(total, auto == "SAME_UPPER") if total >= 0 else (0, total))
    else:
        pads = (
            pads_of(node, x.shape[2:], weight.shape[2:], [1] * rank, dilations) if auto != "VALID" else [(0, 0)] * rank
        )
    pads = [(before, behind - more) for (before, behind), more in zip(pads, extra, strict=True)]
    return spread(x, weight, bias, strides, pads, dilations, node.get("group", 1))
