"""What netjac is held against: JAX's own modes in float64, and central differences."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from netjac.factors.refine import densify
from netjac.factors.taps import joined, placed, unsettled


def jacrev(f, x):
    """∂f/∂x by JAX's reverse mode, in float64, (*out, *in)."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.jacrev(f))(jnp.asarray(x)))


def jacfwd(f, x):
    """∂f/∂x by JAX's forward mode, in float64, (*out, *in)."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.jacfwd(f))(jnp.asarray(x)))


def per_sample(full, out_rank):
    """The blocks of a (B, *out, B, *in) Jacobian at equal samples, (B, *out, *in)."""
    return np.stack([np.take(np.take(full, b, 0), b, out_rank - 1) for b in range(full.shape[0])])


def differences(f, x, step=1e-6):
    """∂f/∂x by central differences in float64; good to about 1e-9 of f's size for smooth f."""
    x = np.asarray(x, np.float64)
    columns = []
    with jax.enable_x64(True):
        for index in np.ndindex(*x.shape):
            shift = np.zeros_like(x)
            shift[index] = step
            columns.append((np.asarray(f(jnp.asarray(x + shift))) - np.asarray(f(jnp.asarray(x - shift)))) / (2 * step))
    return np.stack(columns, -1).reshape((*columns[0].shape, *x.shape))


def relative_error(found, expected):
    """‖found − expected‖ / ‖expected‖, the absolute error where expected is zero."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = np.linalg.norm(expected)
    return np.linalg.norm(found - expected) / (scale if scale else 1.0)


def entries(pattern, data):
    """All entries of a factor, (*out, *in) in float64, its windows put in their place first. Traceable."""
    while (place := unsettled(pattern)) is not None:
        step = joined(pattern, place)
        data, pattern = step.apply(data, jnp.float64), step.pattern
    while pattern.windows:
        step = placed(pattern, 0)
        data, pattern = step.apply(data, jnp.float64), step.pattern
    return jnp.reshape(densify(pattern, data, jnp.float64), (*pattern.out_shape, *pattern.in_shape))


def dense(pattern, data):
    """`entries` as NumPy's."""
    return np.asarray(jax.jit(partial(entries, pattern))(data))
