"""Sums, means, norms, extremes and the largest k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten import reduction as torch
from netjac.networks.onnx_operators.registry import Node, index_type, integers, operator, places

Reduction = Callable[[Any, tuple[int, ...], bool], Any]
"""(x, axes, whether they stay as axes of one entry) → the result."""

REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": lambda x, axes, keep: jnp.sum(x, axes, keepdims=keep),
    "ReduceMean": lambda x, axes, keep: jnp.mean(x, axes, keepdims=keep),
    "ReduceProd": lambda x, axes, keep: jnp.prod(x, axes, keepdims=keep),
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceL1": lambda x, axes, keep: torch.norm(x, 1, axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: jnp.sum(jnp.square(x), axes, keepdims=keep),
    "ReduceLogSum": lambda x, axes, keep: jnp.log(jnp.sum(x, axes, keepdims=keep)),
    "ReduceLogSumExp": lambda x, axes, keep: jax.nn.logsumexp(x, axes, keepdims=keep),
}


def _reduced(reduction: Reduction) -> Callable[..., Any]:
    """Axes come as an attribute or, since opset 13 or 18, as an input; without any, all are meant."""

    def apply(node: Node, x: Any, axes: Any = None) -> Any:
        axes = node.get("axes") if axes is None else integers(axes)
        if not axes and node.get("noop_with_empty_axes", 0):
            return reduction(x[None], (0,), False)
        return reduction(x, places(axes or None, x.ndim), bool(node.get("keepdims", 1)))

    return apply


for _name, _reduction in REDUCTIONS.items():
    operator(_name, known=(1,))(_reduced(_reduction))


def _place_of(choose: Callable[..., Any]) -> Callable[..., Any]:
    def apply(node: Node, x: Any) -> Any:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return choose(x, axis, keepdims=keep).astype(index_type())
        return (x.shape[axis] - 1 - choose(jnp.flip(x, axis), axis, keepdims=keep)).astype(index_type())

    return apply


operator("ArgMax")(_place_of(jnp.argmax))
operator("ArgMin")(_place_of(jnp.argmin))


@operator("TopK", known=(1,))
def largest(node: Node, x: Any, count: Any = None) -> Any:
    k = node.attributes["k"] if count is None else integers(count)[0]
    values, chosen = torch.top_k(x, k, node.get("axis", -1), bool(node.get("largest", 1)))
    return values, chosen.astype(index_type())
