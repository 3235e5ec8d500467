"""What is asked of a parameter Jacobian, each as one jitted function of the uses' arrays.

`Uses` is static: for each use the parameter's place and its layout. Arrays are given in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp

from netjac.parameters.uses import Contraction, Layout

Uses = tuple[tuple[int, Layout], ...]
Arrays = Sequence[Sequence[jax.Array]]


@partial(jax.jit, static_argnums=(0, 3))
def pushed(uses: Uses, arrays: Arrays, tangents: Sequence[jax.Array], rows: int) -> jax.Array:
    """J v: (rows, k) from (k, size) for each parameter."""
    total = jnp.zeros((rows, tangents[0].shape[0]), tangents[0].dtype)
    for (place, one), numbers in zip(uses, arrays, strict=True):
        sum_ = Contraction()
        out, inn = sum_.use(one, numbers)
        k = sum_.label(tangents[place].shape[0])
        sum_.array([k, *inn], tangents[place].reshape((-1, *one.entries)))
        total = total + sum_.sum([*out, k]).reshape(total.shape)
    return total


@partial(jax.jit, static_argnums=(0, 3))
def pulled(uses: Uses, arrays: Arrays, cotangents: jax.Array, sizes: tuple[int, ...]) -> list[jax.Array]:
    """Jᵀ u: (k, size) for each parameter from (k, rows)."""
    count = cotangents.shape[0]
    found = [jnp.zeros((count, size), cotangents.dtype) for size in sizes]
    for (place, one), numbers in zip(uses, arrays, strict=True):
        sum_ = Contraction()
        out, inn = sum_.use(one, numbers)
        k = sum_.label(count)
        sum_.array([k, *out], cotangents.reshape((count, *(one.sizes[n] for n in one.out))))
        found[place] = found[place] + sum_.sum([k, *inn]).reshape(found[place].shape)
    return found


@partial(jax.jit, static_argnums=(0, 2, 4, 5))
def gram(uses: Uses, arrays: Arrays, others: Uses, theirs: Arrays, rows: int, columns: int) -> jax.Array:
    """J J′ᵀ, (rows, columns): Σ over the parameters of every use here with every use there."""
    total = jnp.zeros((rows, columns))
    for (place, one), numbers in zip(uses, arrays, strict=True):
        for (beside, other), their in zip(others, theirs, strict=True):
            if place == beside:
                sum_ = Contraction()
                (out, inn), (across, same) = sum_.use(one, numbers), sum_.use(other, their)
                sum_.tie(same, inn)
                total = total + sum_.sum([*out, *across]).reshape(total.shape)
    return total


@partial(jax.jit, static_argnums=(0, 2))
def row_squares(uses: Uses, arrays: Arrays, rows: int) -> jax.Array:
    """‖row‖² of each row."""
    total = jnp.zeros(rows)
    for one, first, other, second, times in _pairs(uses, arrays):
        sum_ = Contraction()
        (out, inn), (same_out, same) = sum_.use(one, first), sum_.use(other, second)
        sum_.tie([*same, *same_out], [*inn, *out])
        total = total + times * sum_.sum(out).reshape(total.shape)
    return total


@partial(jax.jit, static_argnums=(0, 2))
def column_squares(uses: Uses, arrays: Arrays, sizes: tuple[int, ...]) -> list[jax.Array]:
    """diag JᵀJ, (size,) for each parameter; what a row is summed over is summed before it is squared."""
    found = [jnp.zeros(size) for size in sizes]
    for place in range(len(sizes)):
        own = [pair for pair in zip(uses, arrays, strict=True) if pair[0][0] == place]
        for one, first, other, second, times in _pairs(tuple(u for u, _ in own), [a for _, a in own]):
            sum_ = Contraction()
            (out, inn), (same_out, same) = sum_.use(one, first), sum_.use(other, second)
            sum_.tie([*same, *same_out], [*inn, *out])
            found[place] = found[place] + times * sum_.sum(inn).reshape(-1)
    return found


@partial(jax.jit, static_argnums=(0, 2, 3))
def entries(uses: Uses, arrays: Arrays, rows: int, sizes: tuple[int, ...]) -> list[jax.Array]:
    """J itself, (rows, size) for each parameter."""
    found = [jnp.zeros((rows, size)) for size in sizes]
    for (place, one), numbers in zip(uses, arrays, strict=True):
        sum_ = Contraction()
        out, inn = sum_.use(one, numbers)
        found[place] = found[place] + sum_.sum([*out, *inn]).reshape(found[place].shape)
    return found


def _pairs(uses: Uses, arrays: Arrays) -> list[tuple[Layout, Sequence[jax.Array], Layout, Sequence[jax.Array], int]]:
    """Every two uses of the same parameter, and how often they meet in a square."""
    both = [(place, one, numbers) for (place, one), numbers in zip(uses, arrays, strict=True)]
    return [
        (one, first, other, second, 1 if first is second else 2)
        for (place, one, first), (beside, other, second) in combinations_with_replacement(both, 2)
        if place == beside
    ]
