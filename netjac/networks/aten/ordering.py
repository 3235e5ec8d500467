"""Entries by rank, running extremes, and places in a sorted row.

Values are gathered at the places found, so that the derivative goes to the one entry that torch names, at ties too.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.registry import op


@op("kthvalue")
def kth_value(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if x.ndim == 0:
        return x, jnp.zeros((), jnp.int32)
    return _ranked(x, jnp.asarray(k - 1), dim, keepdim)


@op("median.dim")
def median_along(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The lower of the two in the middle."""
    return kth_value(x, (x.shape[dim] + 1) // 2 if x.ndim else 1, dim, keepdim)


@op("nanmedian.dim")
def median_of_numbers(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    count = jnp.sum(~jnp.isnan(x), dim, keepdims=True)
    return _ranked(x, jnp.maximum(count - 1, 0) // 2, dim, keepdim)


@op("median")
def median(x: Any) -> Any:
    return median_along(x.reshape(-1))[0]


@op("nanmedian")
def nanmedian(x: Any) -> Any:
    return median_of_numbers(x.reshape(-1))[0]


def _ranked(x: Any, rank: Any, dim: int, keepdim: bool) -> Any:
    order = jnp.argsort(x, dim, stable=True)
    shape = tuple(1 if d == dim % x.ndim else n for d, n in enumerate(x.shape))
    place = jnp.take_along_axis(order, jnp.broadcast_to(rank, shape), dim)
    value = jnp.take_along_axis(x, place, dim)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


@op("cummax")
def running_maximum(x: Any, dim: int) -> Any:
    """Of equal entries the last, as in torch."""
    if x.ndim == 0:
        return x, jnp.zeros((), jnp.int32)
    dim %= x.ndim
    still = lax.stop_gradient(x)
    places = lax.broadcasted_iota(jnp.int32, x.shape, dim)
    chosen = lax.cummax(jnp.where(still == lax.cummax(still, dim), places, 0), dim)
    return jnp.take_along_axis(x, chosen, dim), chosen


@op("cummin")
def running_minimum(x: Any, dim: int) -> Any:
    values, places = running_maximum(-x, dim)
    return -values, places


@op("logcumsumexp")
def running_logsumexp(x: Any, dim: int) -> Any:
    return x if x.ndim == 0 else lax.cumlogsumexp(x, dim % x.ndim)


@op("searchsorted.Tensor", "searchsorted.Scalar")
def place_in(
    row: Any, values: Any, *, right: bool = False, side: str | None = None, sorter: Any = None, **_: Any
) -> Any:
    """How many entries of the sorted row are less than a value (or equal to it, from the right)."""
    if sorter is not None:
        row = jnp.take_along_axis(row, sorter, -1)
    values = jnp.asarray(values)
    row = row if row.ndim == 1 else row[..., None, :]
    before = row <= values[..., None] if right or side == "right" else row < values[..., None]
    return before.sum(-1)


@op("bucketize.Tensor", "bucketize.Scalar")
def bucket(values: Any, bounds: Any, *, right: bool = False, **_: Any) -> Any:
    return place_in(bounds, values, right=right)
