"""GridSample: values of an image at places that the network itself works out."""

from __future__ import annotations

from typing import Any

from netjac.networks.aten.sampling import grid_sample
from netjac.networks.onnx_operators.registry import Node, operator

KINDS = {"bilinear": "linear", "bicubic": "cubic"}
"""Names of modes before opset 20."""


@operator("GridSample")
def sampled(node: Node, x: Any, grid: Any) -> Any:
    mode = node.get("mode", "linear")
    corners = bool(node.get("align_corners", 0))
    return grid_sample(x, grid, KINDS.get(mode, mode), node.get("padding_mode", "zeros"), corners)
