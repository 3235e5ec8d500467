"""Deep plain networks in JAX, with their weights, and their Jacobians by explicit products in NumPy in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import netjac as nj

WIDTH, DEPTH = 256, 50
SLOPES = {
    "linear": lambda z: np.ones_like(z),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(z.dtype),
}
ACTIVATIONS = {"linear": lambda z: z, "tanh": jnp.tanh, "relu": jax.nn.relu}
IN_NUMPY = {"linear": lambda z: z, "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}


def orthogonal(depth=DEPTH, width=WIDTH, seed=0):
    rng = np.random.default_rng(seed)
    return [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(depth)]


def gaussian(scale, depth=DEPTH, width=WIDTH, seed=0):
    """N(0, scale²/n)."""
    rng = np.random.default_rng(seed)
    return [scale / np.sqrt(width) * rng.standard_normal((width, width)) for _ in range(depth)]


def chain(weights, activation, bias=0.0):
    """A network x → f(x W + b) → …, its layers called h0, h1, …"""

    def net(x):
        for number, W in enumerate(weights):
            x = nj.mark(ACTIVATIONS[activation](x @ W.astype(x.dtype) + bias), f"h{number}")
        return x

    return nj.network(net, batched=True)


def by_hand(weights, activation, x):
    """Each layer's own Jacobian at one sample."""
    found = []
    for W in weights:
        z = x @ W
        found.append(SLOPES[activation](z)[:, None] * W.T)
        x = IN_NUMPY[activation](z)
    return found


def onwards(own):
    """∂output/∂(the input, and each layer), by products from the output back."""
    product = np.eye(len(own[-1]))
    found = [product]
    for J in reversed(own):
        product = product @ J
        found.append(product)
    return found[::-1]


def sigma(J):
    return np.linalg.svd(np.asarray(J, np.float64), compute_uv=False)
