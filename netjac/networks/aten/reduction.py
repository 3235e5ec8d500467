"""Sums, means, norms, extremes, sorting."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netjac.networks.aten.pooling import first_max
from netjac.networks.aten.registry import axes_of, dtype_of, listed, op


def _typed(x: Any, dtype: Any) -> Any:
    return x if dtype is None else x.astype(dtype_of(dtype))


@op("sum", "sum.dim_IntList")
def total(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.sum(_typed(x, dtype), axes_of(dim, x.ndim), keepdims=keepdim)


@op("mean", "mean.dim")
def mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.mean(_typed(x, dtype), axes_of(dim, x.ndim), keepdims=keepdim)


def _variance(x: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    axes = axes_of(dim, x.ndim)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    centred = x - x.mean(axes, keepdims=True)
    return jnp.square(centred).sum(axes, keepdims=keepdim) / (count - (1 if correction is None else correction))


@op("var.correction")
def variance(x: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return _variance(x, dim, correction, keepdim)


@op("std.correction")
def deviation(x: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return root(_variance(x, dim, correction, keepdim))


@op("var", "var.dim")
def variance_by_flag(x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    if isinstance(dim, bool):
        return _variance(x, None, int(dim), keepdim)
    return _variance(x, dim, int(unbiased), keepdim)


@op("std", "std.dim")
def deviation_by_flag(x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    return root(variance_by_flag(x, dim, unbiased, keepdim))


@op("var_mean.correction")
def variance_and_mean(x: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return _variance(x, dim, correction, keepdim), mean(x, dim, keepdim)


@op("prod", "prod.dim_int")
def product(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.prod(_typed(x, dtype), axes_of(dim, x.ndim), keepdims=keepdim)


@op("amax")
def amax(x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return jnp.max(x, axes_of(dim, x.ndim), keepdims=keepdim)


@op("amin")
def amin(x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return jnp.min(x, axes_of(dim, x.ndim), keepdims=keepdim)


@op("max")
def largest(x: Any) -> Any:
    return jnp.max(x)


@op("min")
def smallest(x: Any) -> Any:
    return jnp.min(x)


@op("max.dim")
def max_along(x: Any, dim: int, keepdim: bool = False) -> Any:
    if x.ndim == 0:
        return x, jnp.zeros((), jnp.int32)
    values, places = first_max(x, dim), jnp.argmax(x, dim)
    return (jnp.expand_dims(values, dim), jnp.expand_dims(places, dim)) if keepdim else (values, places)


@op("min.dim")
def min_along(x: Any, dim: int, keepdim: bool = False) -> Any:
    values, places = max_along(-x, dim, keepdim)
    return -values, places


@op("argmax")
def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return jnp.argmax(x, dim, keepdims=keepdim)


@op("argmin")
def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return jnp.argmin(x, dim, keepdims=keepdim)


@op("any", "any.dim", "any.dims")
def any_true(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return jnp.any(x, axes_of(dim, x.ndim), keepdims=keepdim)


@op("all", "all.dim", "all.dims")
def all_true(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return jnp.all(x, axes_of(dim, x.ndim), keepdims=keepdim)


@op("logsumexp")
def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    return jax.nn.logsumexp(x, axes_of(dim, x.ndim), keepdims=keepdim)


@op("linalg_norm", "linalg_norm.ord_str")
def vector_or_matrix_norm(x: Any, order: Any = None, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    over = x.ndim if dim is None else len(listed(dim, 1))
    if order is None or over == 1:
        return norm(x, order, dim, keepdim, dtype)
    return matrix_norm(x, order, tuple(range(x.ndim)) if dim is None else dim, keepdim, dtype)


@op("linalg_matrix_norm", "linalg_matrix_norm.str_ord")
def matrix_norm(x: Any, order: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, dtype: Any = None) -> Any:
    if order == "fro":
        return norm(x, 2, dim, keepdim, dtype)
    return jnp.linalg.norm(_typed(x, dtype), order, tuple(dim), keepdim)


def root(power: Any) -> Any:
    """√power, with derivative 0 at 0, as in torch."""
    return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1)), jnp.zeros_like(power))


@op("linalg_vector_norm", "norm.ScalarOpt_dim", "norm.Scalar")
def norm(x: Any, order: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """A vector norm; at the origin the derivative is 0, as in torch."""
    axes = axes_of(dim, x.ndim)
    x = _typed(x, dtype)
    order = 2 if order is None else order
    if order == float("inf"):
        return jnp.max(jnp.abs(x), axes, keepdims=keepdim)
    if order == float("-inf"):
        return jnp.min(jnp.abs(x), axes, keepdims=keepdim)
    if order == 1:
        return jnp.sum(jnp.abs(x), axes, keepdims=keepdim)
    if order == 0:
        return jnp.sum(x != 0, axes, keepdims=keepdim).astype(x.dtype)
    powers = jnp.square(x) if order == 2 else jnp.abs(x) ** order
    power = jnp.sum(powers, axes, keepdims=keepdim)
    if order == 2:
        return root(power)
    return jnp.where(power > 0, jnp.where(power > 0, power, 1) ** (1 / order), jnp.zeros_like(power))


@op("topk")
def top_k(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    moved = jnp.moveaxis(x if largest else -x, dim, -1)
    values, places = lax.top_k(moved, k)
    values = values if largest else -values
    return jnp.moveaxis(values, -1, dim), jnp.moveaxis(places, -1, dim)


@op("sort", "sort.stable")
def sort(x: Any, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    if isinstance(dim, bool):
        return sort(x, -1, dim)
    order = jnp.argsort(x, dim, stable=True, descending=descending)
    return jnp.take_along_axis(x, order, dim), order


@op("argsort")
def argsort(x: Any, dim: int = -1, descending: bool = False) -> Any:
    return jnp.argsort(x, dim, stable=True, descending=descending)
