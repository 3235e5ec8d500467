"""Networks in plain JAX that several test files share: blocks that keep a shape or change it, and whole nets of them.

A block is made of a generator of random numbers and the shape of one sample, and is (function of a batch, new shape).
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import netjac as nj

ACTIVATIONS = {
    "relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu, "silu": jax.nn.silu, "elu": jax.nn.elu,
    "softplus": jax.nn.softplus, "leaky relu": jax.nn.leaky_relu, "sine": jnp.sin,
}  # fmt: skip


def mlp(widths, seed=0, activation=jnp.tanh, scale=1.0):
    """A dense net of the given widths on (batch, widths[0]) or (widths[0],); each hidden layer is marked `hidden{i}`."""
    rng = np.random.default_rng(seed)
    weights = [(scale * rng.standard_normal(s) / np.sqrt(s[0]), rng.standard_normal(s[1]) / 3)
               for s in pairwise(widths)]  # fmt: skip

    def apply(x):
        for i, (W, b) in enumerate(weights[:-1]):
            x = nj.mark(activation(x @ W.astype(x.dtype) + b.astype(x.dtype)), f"hidden{i}")
        W, b = weights[-1]
        return x @ W.astype(x.dtype) + b.astype(x.dtype)

    return apply


@jax.tree_util.register_pytree_node_class
class Linear:
    """A dense tanh layer as a callable pytree with two parameters."""

    def __init__(self, W, b):
        self.W, self.b = W, b

    def __call__(self, x):
        return jnp.tanh(x @ self.W + self.b)

    def tree_flatten(self):
        return (self.W, self.b), None

    @classmethod
    def tree_unflatten(cls, _static, leaves):
        return cls(*leaves)


def dense(rng, shape):
    width = int(rng.integers(1, 6))
    W, b = rng.standard_normal((shape[-1], width)) / np.sqrt(shape[-1]), rng.standard_normal(width)
    return lambda x: x @ W + b, (*shape[:-1], width)


def activation(rng, shape):
    f = ACTIVATIONS[sorted(ACTIVATIONS)[rng.integers(len(ACTIVATIONS))]]
    return lambda x: f(x), shape


def flatten(_rng, shape):
    return lambda x: x.reshape(x.shape[0], prod(shape)), (prod(shape),)


def convolution(rng, shape):
    """3×3 over (h, w, c), with stride, dilation or one group a channel at times."""
    kind = rng.integers(4)
    groups = shape[-1] if kind == 3 else 1
    channels = shape[-1] * int(rng.integers(1, 3)) if groups > 1 else int(rng.integers(1, 5))
    K = rng.standard_normal((3, 3, shape[-1] // groups, channels)) / 3
    strides, dilation = (2, 2) if kind == 1 else (1, 1), (2, 1) if kind == 2 else (1, 1)

    def apply(x):
        return lax.conv_general_dilated(
            x, K, strides, "SAME", (1, 1), dilation, ("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    return apply, (*(-(-n // strides[0]) for n in shape[:2]), channels)


def pooling(rng, shape):
    """Maximum or mean, tiling, overlapping or with a rest."""
    window, stride = ((2, 2), (3, 2), (2, 1))[rng.integers(3)]
    start, function = ((-jnp.inf, lax.max), (0.0, lax.add))[rng.integers(2)]
    if min(shape[:2]) < window:
        return activation(rng, shape)

    def apply(x):
        return lax.reduce_window(x, start, function, (1, window, window, 1), (1, stride, stride, 1), "VALID")

    return apply, (*((n - window) // stride + 1 for n in shape[:2]), shape[-1])


def layer_norm(rng, shape):
    g, b = 1 + rng.standard_normal(shape[-1]) / 4, rng.standard_normal(shape[-1])

    def apply(x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-2) * g + b

    return apply, shape


def batch_norm(rng, shape):
    """With given statistics, as at inference."""
    mean, variance, g = rng.standard_normal(shape[-1]), 0.5 + rng.random(shape[-1]), rng.standard_normal(shape[-1])
    return lambda x: (x - mean) / jnp.sqrt(variance + 1e-3) * g, shape


def attention(rng, shape):
    """One head of self-attention over tokens × features, causal at times."""
    tokens, width = shape
    Q, K, V = (rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(3))
    mask = np.tril(np.ones((tokens, tokens), bool)) if rng.integers(2) else np.ones((tokens, tokens), bool)

    def apply(x):
        scores = jnp.einsum("btd,bsd->bts", x @ Q, x @ K) / np.sqrt(width)
        return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1) @ (x @ V)

    return apply, shape


def softmax(_rng, shape):
    return lambda x: jax.nn.softmax(x, -1), shape


def recurrent(rng, shape):
    """A plain recurrent cell over the first axis of a sample."""
    W, U = (rng.standard_normal((shape[-1], shape[-1])) / np.sqrt(shape[-1]) for _ in range(2))

    def apply(x):
        def step(h, t):
            h = jnp.tanh(h @ W + t @ U)
            return h, h

        return jnp.moveaxis(lax.scan(step, jnp.zeros_like(x[:, 0]), jnp.moveaxis(x, 1, 0))[1], 0, 1)

    return apply, shape


KEEP = (activation, layer_norm, batch_norm, softmax)
BY_RANK = {
    1: (*KEEP, dense),
    2: (*KEEP, dense, attention, recurrent, flatten),
    3: (*KEEP, convolution, pooling, convolution, flatten),
}


def in_series(blocks):
    def apply(x):
        for block in blocks:
            x = block(x)
        return x

    return apply


def residual(rng, shape, depth):
    """x + f(x), with a projection where f changes the shape; f may hold branches of its own."""
    inner, new = block(rng, shape, depth - 1)
    if new == shape:
        return lambda x: x + inner(x), shape
    P = rng.standard_normal((prod(shape), *new)) / np.sqrt(prod(shape))
    return lambda x: inner(x) + jnp.tensordot(x.reshape(x.shape[0], -1), P, 1), new


def branched(rng, shape, depth):
    """Two branches from one value, joined along the last axis."""
    parts = [block(rng, shape, depth - 1) for _ in range(2)]
    if parts[0][1][:-1] != parts[1][1][:-1]:
        parts = [(in_series([f, flatten(rng, s)[0]]), (prod(s),)) for f, s in parts]
    (f, left), (g, right) = parts
    return lambda x: jnp.concatenate([f(x), g(x)], -1), (*left[:-1], left[-1] + right[-1])


def shared(rng, shape, depth):
    """One block used twice, with the same weights."""
    f, new = block(rng, shape, depth - 1)
    return (lambda x: f(f(x)), new) if new == shape else (lambda x: f(x) * f(jnp.sin(x)), new)


def gated(rng, shape, depth):
    """f(x) · σ(f(x) + x̄): a product of two paths from one value."""
    f, new = block(rng, shape, depth - 1)
    axes = tuple(range(1, len(shape) + 1))

    def apply(x):
        h = f(x)
        return h * jax.nn.sigmoid(h + x.mean(axes).reshape(-1, *(1,) * len(new)))

    return apply, new


JOINED = (residual, branched, shared, gated)


def block(rng, shape, depth):
    """One random layer that fits the shape, or a joint of several."""
    if depth and rng.random() < 0.4:
        return JOINED[rng.integers(len(JOINED))](rng, shape, depth)
    kinds = BY_RANK[len(shape)]
    return kinds[rng.integers(len(kinds))](rng, shape)


def random_network(seed, shape, length, depth=2):
    """A network of `length` random blocks on samples of `shape`, with a dense head; (function, output shape)."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(length):
        f, shape = block(rng, shape, depth)
        blocks.append(f)
    f, shape = dense(rng, shape)
    return in_series([*blocks, f]), shape
