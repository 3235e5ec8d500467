"""Slices, gathers and scatters."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import op


def _bounds(n: int, start: Any, end: Any) -> tuple[int, int]:
    start, end = 0 if start is None else start, n if end is None else end
    start = min(max(start + n if start < 0 else start, 0), n)
    end = min(max(end + n if end < 0 else end, start), n)
    return start, end


@op("slice.Tensor", "slice_copy.Tensor")
def slice_tensor(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    low, high = _bounds(x.shape[dim], start, end)
    return lax.slice_in_dim(x, low, high, step, axis=dim)


@op("select.int", "select_copy.int")
def select(x: Any, dim: int, index: Any) -> Any:
    return lax.index_in_dim(x, index, dim, keepdims=False)


@op("narrow")
def narrow(x: Any, dim: int, start: int, length: int) -> Any:
    return lax.slice_in_dim(x, start, start + length, axis=dim)


def _area(x: Any, dim: int, part: Any) -> tuple[Any, ...]:
    area: list[Any] = [slice(None)] * x.ndim
    area[dim] = part
    return tuple(area)


@op("slice_scatter")
def slice_scatter(x: Any, source: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    low, high = _bounds(x.shape[dim], start, end)
    return x.at[_area(x, dim, slice(low, high, step))].set(source)


@op("select_scatter")
def select_scatter(x: Any, source: Any, dim: int, index: int) -> Any:
    return x.at[_area(x, dim, index)].set(source)


@op("index.Tensor", "_unsafe_index.Tensor")
def index(x: Any, indices: Any) -> Any:
    return x[_indices(x, indices)]


@op("index_put", "_unsafe_index_put", "index_put_")
def index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    if len(indices) == 1 and indices[0].dtype == bool and getattr(values, "size", 1) == 1 and not accumulate:
        mask = indices[0].reshape(indices[0].shape + (1,) * (x.ndim - indices[0].ndim))
        return jnp.where(mask, jnp.asarray(values, x.dtype).reshape(()), x)
    place = x.at[_indices(x, indices)]
    return place.add(values) if accumulate else place.set(values)


def _indices(x: Any, indices: Any) -> tuple[Any, ...]:
    return tuple(slice(None) if i is None else i for i in indices)


@op("index_select")
def index_select(x: Any, dim: int, indices: Any) -> Any:
    return jnp.take(x, indices, axis=dim, mode="clip")


@op("gather")
def gather(x: Any, dim: int, indices: Any, **_: Any) -> Any:
    if x.ndim == 0:
        return x
    part = x[tuple(slice(None) if d == dim % x.ndim else slice(0, n) for d, n in enumerate(indices.shape))]
    return jnp.take_along_axis(part, indices, dim, mode="clip")


@op("take")
def take(x: Any, indices: Any) -> Any:
    return jnp.take(x.reshape(-1), indices, mode="clip")


def _scattered(x: Any, dim: int, indices: Any) -> Any:
    grid = list(jnp.meshgrid(*(jnp.arange(n) for n in indices.shape), indexing="ij"))
    grid[dim] = indices
    return x.at[tuple(grid)]


def _source(source: Any, indices: Any) -> Any:
    return source[tuple(slice(0, n) for n in indices.shape)] if getattr(source, "ndim", 0) else source


@op("scatter.src", "scatter.value")
def scatter(x: Any, dim: int, indices: Any, source: Any) -> Any:
    return _scattered(x, dim, indices).set(_source(source, indices))


@op("scatter_add")
def scatter_add(x: Any, dim: int, indices: Any, source: Any) -> Any:
    return _scattered(x, dim, indices).add(_source(source, indices))


@op("index_add")
def index_add(x: Any, dim: int, indices: Any, source: Any, alpha: Any = 1) -> Any:
    return x.at[_area(x, dim, indices)].add(alpha * source)


@op("one_hot")
def one_hot(x: Any, classes: int) -> Any:
    return (x[..., None] == jnp.arange(classes)).astype(jnp.result_type(int))
