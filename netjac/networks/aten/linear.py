"""Matrix products in all their spellings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import op


@op("linear")
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


@op("mm", "bmm", "matmul", "mv", "dot", "vdot", "inner")
def matmul(a: Any, b: Any) -> Any:
    return a @ b


@op("addbmm")
def addbmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * x + alpha * (a @ b).sum(0)


@op("addmm", "addmv", "baddbmm")
def addmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    product = a @ b if alpha == 1 else alpha * (a @ b)
    return product + (x if beta == 1 else beta * x)


@op("outer", "ger")
def outer(a: Any, b: Any) -> Any:
    return a[:, None] * b[None, :]


@op("einsum")
def einsum(equation: str, operands: Any, path: Any = None) -> Any:
    return jnp.einsum(equation.replace(" ", ""), *operands)


@op("bilinear")
def bilinear(a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    y = jnp.einsum("...i,oij,...j->...o", a, weight, b)
    return y if bias is None else y + bias


@op("embedding")
def embedding(weight: Any, indices: Any, padding: int = -1, *_: Any) -> Any:
    """The row of `padding` is used but not learned: its derivative is 0, as in torch."""
    if padding >= 0:
        weight = weight.at[padding].set(lax.stop_gradient(weight[padding]))
    return jnp.take(weight, indices, axis=0, mode="clip")
