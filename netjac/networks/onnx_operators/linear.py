"""Matrix products."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from netjac.networks.aten import linear as torch
from netjac.networks.onnx_operators.registry import Node, operator

operator("MatMul")(lambda _, a, b: torch.matmul(a, b))
operator("Det")(lambda _, x: jnp.linalg.det(x))
operator("Einsum")(lambda node, *operands: torch.einsum(node.attributes["equation"], operands))


@operator("Gemm")
def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    """α A B + β C, A and B transposed where it says so."""
    a = a.T if node.get("transA", 0) else a
    y = torch.linear(a, b) if node.get("transB", 0) else torch.matmul(a, b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    y = y if alpha == 1 else alpha * y
    if c is None or beta == 0:
        return y
    return y + (c if beta == 1 else beta * c)
