"""Values seen as rows of the entries that stand together along some axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import jax
import jax.numpy as jnp


def grouping(shape: tuple[int, ...], axes: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """(…, *shape) → (…, rows, entries of the axes)."""
    left = [axis for axis in range(len(shape)) if axis not in axes]
    sizes = (prod(shape[axis] for axis in left), prod(shape[axis] for axis in axes))

    def group(a: jax.Array) -> jax.Array:
        lead = a.ndim - len(shape)
        order = [*range(lead), *(lead + axis for axis in (*left, *axes))]
        return jnp.transpose(a, order).reshape((*a.shape[:lead], *sizes))

    return group


def ungrouping(shape: tuple[int, ...], axes: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """(…, rows, entries of the axes) → (…, *shape)."""
    order = [*(axis for axis in range(len(shape)) if axis not in axes), *axes]

    def ungroup(a: jax.Array) -> jax.Array:
        lead = a.ndim - 2
        full = a.reshape((*a.shape[:lead], *(shape[axis] for axis in order)))
        return jnp.transpose(full, [*range(lead), *(lead + order.index(axis) for axis in range(len(shape)))])

    return ungroup
