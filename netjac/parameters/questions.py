"""What is asked of a parameter Jacobian, each as one jitted function of the uses' arrays.

`Uses` is static. Each array is given once, so that XLA sees where two uses multiply the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp

from netjac.parameters.uses import Contraction, Placed

Uses = tuple[Placed, ...]
Arrays = Sequence[jax.Array]


@partial(jax.jit, static_argnums=(0, 3))
def pushed(uses: Uses, arrays: Arrays, tangents: Sequence[jax.Array], rows: int) -> jax.Array:
    """J v: (rows, k) from (k, size) for each parameter."""
    total = jnp.zeros((rows, tangents[0].shape[0]), tangents[0].dtype)
    for one in uses:
        sum_ = Contraction()
        out, inn = sum_.use(one, arrays)
        tangent = tangents[one.parameter]
        k = sum_.label(tangent.shape[0])
        sum_.array([k, *inn], tangent.reshape((-1, *one.layout.entries)))
        total = total + sum_.sum([*out, k]).reshape(total.shape)
    return total


@partial(jax.jit, static_argnums=(0, 3))
def pulled(uses: Uses, arrays: Arrays, cotangents: jax.Array, sizes: tuple[int, ...]) -> list[jax.Array]:
    """Jᵀ u: (k, size) for each parameter from (k, rows)."""
    count = cotangents.shape[0]
    found = [jnp.zeros((count, size), cotangents.dtype) for size in sizes]
    for one in uses:
        sum_ = Contraction()
        out, inn = sum_.use(one, arrays)
        k = sum_.label(count)
        sum_.array([k, *out], cotangents.reshape((count, *one.layout.rows)))
        found[one.parameter] = found[one.parameter] + sum_.sum([k, *inn]).reshape((count, -1))
    return found


@partial(jax.jit, static_argnums=(0, 2))
def row_squares(uses: Uses, arrays: Arrays, rows: int) -> jax.Array:
    """‖row‖² of each row."""
    total = jnp.zeros(rows)
    for one, other, times in _pairs(uses):
        sum_ = Contraction()
        (out, inn), (same_out, same) = sum_.use(one, arrays), sum_.use(other, arrays)
        sum_.tie([*same, *same_out], [*inn, *out])
        total = total + times * sum_.sum(out).reshape(total.shape)
    return total


@partial(jax.jit, static_argnums=(0, 2))
def column_squares(uses: Uses, arrays: Arrays, sizes: tuple[int, ...]) -> list[jax.Array]:
    """diag JᵀJ, (size,) for each parameter; what a row is summed over is summed before it is squared."""
    found = [jnp.zeros(size) for size in sizes]
    for one, other, times in _pairs(uses):
        sum_ = Contraction()
        (out, inn), (same_out, same) = sum_.use(one, arrays), sum_.use(other, arrays)
        sum_.tie([*same, *same_out], [*inn, *out])
        found[one.parameter] = found[one.parameter] + times * sum_.sum(inn).reshape(-1)
    return found


@partial(jax.jit, static_argnums=(0, 2, 3))
def entries(uses: Uses, arrays: Arrays, rows: int, sizes: tuple[int, ...]) -> jax.Array:
    """J itself, (rows, Σ sizes), the parameters' columns one after another."""
    found: list[jax.Array | None] = [None for _ in sizes]
    for one in uses:
        sum_ = Contraction()
        out, inn = sum_.use(one, arrays)
        part, before = sum_.sum([*out, *inn]).reshape((rows, -1)), found[one.parameter]
        found[one.parameter] = part if before is None else before + part
    total, start = jnp.zeros((rows, sum(sizes))), 0
    for part_, size in zip(found, sizes, strict=True):
        # In place; XLA's concatenation takes half as long again on a CPU.
        total = total if part_ is None else jax.lax.dynamic_update_slice(total, part_.astype(total.dtype), (0, start))
        start += size
    return total


def _pairs(uses: Uses) -> list[tuple[Placed, Placed, int]]:
    """Every two uses of the same parameter, and how often they meet in a square."""
    both = combinations_with_replacement(enumerate(uses), 2)
    return [(one, other, 1 if a == b else 2) for (a, one), (b, other) in both if one.parameter == other.parameter]
