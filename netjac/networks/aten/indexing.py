"""Slices, gathers and scatters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
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


def _along(put: Callable[[Any, Any, Any], Any], x: Any, dim: int, indices: Any, source: Any) -> Any:
    """`put(row, indices, source)` along one axis, all other axes side by side, as far as the indices reach."""
    if x.ndim == 0:
        return put(x[None], indices.reshape(-1), jnp.asarray(source).reshape(-1))[0]
    dim %= x.ndim
    reach = tuple(slice(None) if d == dim else slice(0, n) for d, n in enumerate(indices.shape))
    source = source[tuple(slice(0, n) for n in indices.shape)] if getattr(source, "ndim", 0) else source
    part, source = x[reach], jnp.broadcast_to(jnp.asarray(source, x.dtype), indices.shape)
    for _ in range(x.ndim - 1):
        put = jax.vmap(put)
    rows = (jnp.moveaxis(value, dim, -1) for value in (part, indices, source))
    put_there = jnp.moveaxis(put(*rows), -1, dim)
    return put_there if part.shape == x.shape else x.at[reach].set(put_there)


@op("scatter.src", "scatter.value")
def scatter(x: Any, dim: int, indices: Any, source: Any) -> Any:
    return _along(lambda row, i, s: row.at[i].set(s), x, dim, indices, source)


@op("scatter_add")
def scatter_add(x: Any, dim: int, indices: Any, source: Any) -> Any:
    return _along(lambda row, i, s: row.at[i].add(s), x, dim, indices, source)


@op("scatter_reduce.two")
def scatter_reduce(x: Any, dim: int, indices: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Entries that nothing is scattered to stay; among equal extremes the derivative is shared out evenly, as in torch."""
    way = {"sum": _sum, "mean": _mean, "prod": _product, "amax": _largest, "amin": _least}[reduce]
    return _along(lambda row, i, s: way(row, i, s, include_self), x, dim, indices, source)


def _counts(row: Any, i: Any, own: bool) -> Any:
    """How many entries go into each place, the row's own where it is counted or is the only one."""
    count = jnp.zeros(row.shape, row.dtype).at[i].add(jnp.ones(i.shape, row.dtype))
    return count + 1 if own else jnp.maximum(count, 1)


def _kept(row: Any, i: Any, own: bool, neutral: Any) -> Any:
    """The row's own entries, `neutral` where they do not count."""
    return row if own else row.at[i].set(neutral)


def _sum(row: Any, i: Any, s: Any, own: bool) -> Any:
    return _kept(row, i, own, 0).at[i].add(s)


def _mean(row: Any, i: Any, s: Any, own: bool) -> Any:
    return _sum(row, i, s, own) / _counts(row, i, own)


def _product(row: Any, i: Any, s: Any, own: bool) -> Any:
    into = i == jnp.arange(row.shape[0])[:, None]
    return _kept(row, i, own, 1) * jnp.where(into, s, 1).prod(-1)


def _largest(row: Any, i: Any, s: Any, own: bool) -> Any:
    most = lax.stop_gradient(_kept(row, i, own, -jnp.inf).at[i].max(s))
    reaching, alone = (s == most[i]).astype(row.dtype), (_kept(row, i, own, -jnp.inf) == most).astype(row.dtype)
    shared = alone.at[i].add(reaching)
    return most + (alone * (row - most)).at[i].add(reaching * (s - most[i])) / shared


def _least(row: Any, i: Any, s: Any, own: bool) -> Any:
    return -_largest(-row, i, -s, own)


@op("index_add")
def index_add(x: Any, dim: int, indices: Any, source: Any, alpha: Any = 1) -> Any:
    return x.at[_area(x, dim, indices)].add(alpha * source)


@op("one_hot")
def one_hot(x: Any, classes: int) -> Any:
    return (x[..., None] == jnp.arange(classes)).astype(jnp.result_type(int))
