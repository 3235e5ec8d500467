"""The two norms that perturbations are measured in: L2 and L∞ of each sample's change, all its entries together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from netjac.errors import UnknownNameError

INF = float("inf")


def understood(norm: int | float | str) -> float:
    """2.0 or inf, from 2, numpy.inf, "2" or "inf". Raises `UnknownNameError`."""
    try:
        value = float(norm)
    except (TypeError, ValueError):
        value = float("nan")
    if value not in (2.0, INF):
        raise UnknownNameError.of("norm of an attack", str(norm), ("2", "inf"))
    return value


def named(norm: float) -> str:
    return "L∞" if norm == INF else f"L{norm:g}"


def steepest(gradient: jax.Array, norm: float) -> jax.Array:
    """Of all changes of norm 1, that along which the linear form grows fastest, (B, n); zero where the gradient is."""
    if norm == INF:
        return jnp.sign(gradient)
    # Scaled first, so that squares neither vanish nor overflow.
    top = jnp.max(jnp.abs(gradient), -1, keepdims=True)
    scaled = gradient / jnp.where(top > 0, top, 1)
    length = jnp.linalg.norm(scaled, axis=-1, keepdims=True)
    return scaled / jnp.where(length > 0, length, 1)


def dual(gradient: jax.Array, norm: float) -> jax.Array:
    """How fast the linear form grows along `steepest`: ‖·‖₁ for L∞, ‖·‖₂ for L2; (…, n) → (…)."""
    return jnp.sum(jnp.abs(gradient), -1) if norm == INF else jnp.linalg.norm(gradient, axis=-1)


def norm_of(change: jax.Array, norm: float) -> jax.Array:
    """(…, n) → (…)."""
    return jnp.max(jnp.abs(change), -1) if norm == INF else jnp.linalg.norm(change, axis=-1)


def within(change: jax.Array, epsilon: float, norm: float) -> jax.Array:
    """The nearest change (B, n) of norm ε at most."""
    if norm == INF:
        return jnp.clip(change, -epsilon, epsilon)
    length = jnp.linalg.norm(change, axis=-1, keepdims=True)
    return change * jnp.minimum(1, epsilon / jnp.where(length > 0, length, 1))


def lengths(change: np.ndarray, norm: float) -> np.ndarray:
    """The norm of each sample's change, in float64; with norm 0 the number of entries that changed."""
    flat = np.asarray(change, np.float64).reshape((len(change), -1))
    return np.linalg.norm(flat, norm, axis=1) if flat.shape[1] else np.zeros(len(flat))


def drawn(shape: tuple[int, ...], epsilon: float, norm: float, generator: np.random.Generator) -> np.ndarray:
    """Changes drawn from the ball of radius ε, one for each sample along axis 0.

    Evenly for L∞; for L2 the direction and the length are each even. (Of points that lie evenly in a ball of many dimensions
    nearly all lie at its surface, in a direction that helps nobody: attacks that start there succeed less often.)
    """
    if norm == INF:
        return generator.uniform(-epsilon, epsilon, shape)
    size = int(np.prod(shape[1:]))
    # One sample after another, so that what is drawn does not depend on how samples are put together.
    numbers = generator.standard_normal((shape[0], size + 1))
    directions, radii = numbers[:, :size], epsilon * ndtr(numbers[:, size:])
    return (radii * directions / np.linalg.norm(directions, axis=1, keepdims=True)).reshape(shape)
