"""The algebra of a step, for every form that makes a matrix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Matrix = tuple[jax.Array, ...]


@jax.jit
def move(
    theta: jax.Array, g: jax.Array, v: jax.Array, bend: jax.Array | float, D: jax.Array, damping: Any, length: Any
) -> tuple[jax.Array, jax.Array]:
    """The parameters after a step along v; the fall of the loss that the quadratic model promises, the step's length in the
    measure of D, relative to the parameters', and damping's share of the slope."""
    slope, size = g @ v, jnp.sum(D * v * v)
    far = jnp.sqrt(jnp.sum(D * jnp.square(theta.astype(jnp.float64))))
    promised = -length * slope + 0.5 * length**2 * (slope + damping * size)
    delta = v * length + bend * length**2
    numbers = promised, length * jnp.sqrt(size) / far, damping * size / jnp.abs(slope)
    return (theta.astype(jnp.float64) + delta).astype(theta.dtype), jnp.stack(numbers)


def scale(diagonal: jax.Array, before: jax.Array, scaled: Any) -> jax.Array:
    """D for the diagonal of JᵀHJ, after another point's D, which was 0 if there was none."""
    # A column of zeros is scaled as if it were one: nothing moves along it.
    least = jnp.where(diagonal > 0, diagonal, 1.0)
    grown = jnp.maximum(diagonal, before)
    alike = jnp.where(before > 0, before, jnp.max(least))
    return jnp.where(scaled, jnp.where(grown > 0, grown, 1.0), alike)


def told(value: Any, g: jax.Array) -> jax.Array:
    """What Python asks for, in one array, so that it waits once."""
    return jnp.stack([value, jnp.max(jnp.abs(g))])


def by_cholesky(matrix: Matrix, D: jax.Array, g: jax.Array, damping: Any) -> jax.Array:
    """(A + λD)⁻¹ g; NaN where that has no factor."""
    (A,) = matrix
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(A + jnp.diag(damping * D), lower=True), g)
