"""Equations rewritten, before anything looks at them, into ones whose structure is plainer.

A pool whose windows tile all of an axis but a rest at its end is a slice without the rest and a pool that tiles. A reshape
that reads its operand's axes in another order (of `jnp.median` along any axis but the last) is a transposition and a plain one.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax

POOLS = frozenset({"reduce_window_max", "reduce_window_min", "reduce_window_sum"})


def without_rest(parameters: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the part of a pool's operand that its windows tile, where they leave a rest; None otherwise."""
    sizes, strides = parameters["window_dimensions"], parameters["window_strides"]
    plain = tuple(sizes) == tuple(strides) and not any(map(any, parameters["padding"]))
    if not plain or any(n != 1 for n in (*parameters["base_dilation"], *parameters["window_dilation"])):
        return None
    tiled = tuple(n - n % size for n, size in zip(shape, sizes, strict=True))
    return tiled if tiled != shape and all(tiled) else None


def slice_of(shape: tuple[int, ...], dtype: Any) -> tuple[Any, dict[str, Any], Any]:
    """Primitive, parameters and result type of the slice [0:n] of every axis."""
    parameters = {"start_indices": (0,) * len(shape), "limit_indices": shape, "strides": None}
    return lax.slice_p, parameters, jax.ShapeDtypeStruct(shape, dtype)


def read_in_another_order(parameters: dict[str, Any], rank: int) -> tuple[int, ...] | None:
    """The order in which a reshape reads its operand's axes, where it is not theirs; None otherwise."""
    order = parameters["dimensions"]
    return None if order is None or tuple(order) == tuple(range(rank)) else tuple(order)


def transposition_of(shape: tuple[int, ...], order: tuple[int, ...], dtype: Any) -> tuple[Any, dict[str, Any], Any]:
    """Primitive, parameters and result type of the transposition of a value of this shape."""
    turned = tuple(shape[axis] for axis in order)
    return lax.transpose_p, {"permutation": order}, jax.ShapeDtypeStruct(turned, dtype)
