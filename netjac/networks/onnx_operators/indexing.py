"""Gathers and scatters; indices count from the end where they are negative."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netjac.networks.aten import indexing as torch
from netjac.networks.onnx_operators.folding import is_known
from netjac.networks.onnx_operators.registry import Node, integers, operator


def _counted(indices: Any, n: int) -> Any:
    """From the front."""
    if is_known(indices):
        return np.where(indices < 0, indices + n, indices)
    return jnp.where(indices < 0, indices + n, indices)


@operator("Gather", fixed=(1,))
def gather(node: Node, x: Any, indices: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    indices = _counted(indices, x.shape[axis])
    if is_known(indices) and indices.ndim == 0:
        return lax.index_in_dim(x, int(indices), axis, keepdims=False)
    return jnp.take(x, indices, axis=axis, mode="clip")


@operator("GatherElements")
def gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.get("axis", 0)
    return torch.gather(x, axis, _counted(indices, x.shape[axis]))


@operator("GatherND")
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    """y[b, i] = x[b, *indices[b, i]], with `batch_dims` axes b."""
    together, depth = node.get("batch_dims", 0), indices.shape[-1]

    def taken(x: Any, indices: Any) -> Any:
        return x[tuple(_counted(indices[..., i], x.shape[i]) for i in range(depth))]

    for _ in range(together):
        taken = jax.vmap(taken)
    return taken(x, indices)


def _written(x: Any, place: tuple[Any, ...], values: Any, how: str) -> Any:
    at = x.at[place]
    return {"none": at.set, "add": at.add, "mul": at.multiply, "max": at.max, "min": at.min}[how](values)


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Any, indices: Any, values: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    place = list(jnp.meshgrid(*(jnp.arange(n) for n in indices.shape), indexing="ij"))
    place[axis] = _counted(indices, x.shape[axis])
    return _written(x, tuple(place), values, node.get("reduction", "none"))


@operator("ScatterND")
def scatter_nd(node: Node, x: Any, indices: Any, values: Any) -> Any:
    place = tuple(_counted(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))
    return _written(x, place, values, node.get("reduction", "none"))


@operator("OneHot", known=(1,))
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    """values[1] where the index is, values[0] elsewhere."""
    n, axis = integers(depth)[0], node.get("axis", -1)
    axis = axis + indices.ndim + 1 if axis < 0 else axis
    classes = jnp.arange(n).reshape((n,) + (1,) * (indices.ndim - axis))
    here = jnp.expand_dims(jnp.where(indices < 0, indices + n, indices), axis) == classes
    return jnp.where(here, values[1], values[0])


@operator("Compress", known=(1,))
def compress(node: Node, x: Any, condition: Any) -> Any:
    chosen = np.flatnonzero(condition)
    if "axis" not in node.attributes:
        return jnp.take(x.reshape(-1), chosen)
    return jnp.take(x, chosen, axis=node.attributes["axis"])


@operator("ReverseSequence", fixed=(1,))
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    """The first lengths[b] steps of each sample b turned round."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    if is_known(lengths) and np.all(lengths == x.shape[time]):
        return jnp.flip(x, time)
    moved = jnp.moveaxis(x, (batch, time), (0, 1))
    steps, lengths = jnp.arange(moved.shape[1])[None], jnp.asarray(lengths)[:, None]
    source = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    turned = jnp.take_along_axis(moved, source.reshape(source.shape + (1,) * (moved.ndim - 2)), 1)
    return jnp.moveaxis(turned, (0, 1), (batch, time))


@operator("NonZero", known=(0,))
def nonzero(node: Node, x: Any) -> Any:
    return np.stack(np.nonzero(x))
