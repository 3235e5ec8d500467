"""A small network as a function of named parameters, and samples to fit."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np


def mlp(p, x):
    """Dense, tanh, dense."""
    return jnp.tanh(x @ p["W"] + p["b"]) @ p["V"] + p["c"]


def drawn(inputs, hidden, outputs, seed=0, dtype="float64", spread=1.0):
    """Parameters of `mlp`."""
    rng = np.random.default_rng(seed)
    return {
        "W": (spread * rng.standard_normal((inputs, hidden)) / np.sqrt(inputs)).astype(dtype),
        "b": (spread * rng.standard_normal(hidden) / 2).astype(dtype),
        "V": (rng.standard_normal((hidden, outputs)) / np.sqrt(hidden)).astype(dtype),
        "c": np.zeros(outputs, dtype),
    }


def waves(samples, dtype="float64"):
    """Three inputs, two smooth outputs."""
    X = np.random.default_rng(1).standard_normal((samples, 3))
    Y = np.stack([np.sin(X[:, 0] * X[:, 1]), np.cos(X[:, 2]) + X[:, 0]], 1)
    return X.astype(dtype), Y.astype(dtype)
