"""The Jacobian of one network, written out for that network in JAX: what can be asked of XLA on this machine.

Each is what somebody writes who knows the layers and the structure of their Jacobians, and is of use for no other. It is
no peer: nobody has it who has not written it. Where netjac is as fast, what is missing to a target is not in its engine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contenders import HAND, WAYS
from benchmarks.in_jax import LAYOUT, network
from benchmarks.workloads import Workload


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], Any]]:
    weights = [tuple(map(jnp.asarray, p)) for p in weights]
    function = jax.jit(partial(WRITTEN[workload.name], workload))

    def call() -> np.ndarray:
        with jax.default_matmul_precision("highest"):
            return np.asarray(function(weights, x))

    return {WAYS[HAND][0]: call}


def _chain(workload: Workload, weights, x):
    """Dense layers: one product a layer for all rows, the last layer's weights scaled."""
    slopes = []
    for (_, _width, activation), (matrix, bias) in zip(workload.layers[:-1], weights[:-1], strict=True):
        z = x @ matrix + bias
        x = jax.nn.relu(z) if activation == "relu" else jnp.tanh(z)
        slopes.append((z > 0).astype(z.dtype) if activation == "relu" else 1 - x * x)
    rows = jnp.broadcast_to(weights[-1][0].T, (len(x), *weights[-1][0].T.shape))
    for slope, (matrix, _) in zip(slopes[::-1], weights[-2::-1], strict=True):
        flat = (rows * slope[:, None]).reshape(-1, slope.shape[1])
        rows = (flat @ matrix.T).reshape(*rows.shape[:2], -1)
    return rows


def _together(workload: Workload, weights, x):
    """The same, every sample by every sample."""
    blocks, samples = _chain(workload, weights, x), jnp.arange(len(x))
    whole = jnp.zeros((len(x), blocks.shape[1], len(x), blocks.shape[2]), blocks.dtype)
    return whole.at[samples, :, samples].set(blocks)


def _convolved(h, kernel, pads="VALID"):
    return lax.conv_general_dilated(h, kernel, (1, 1), pads, dimension_numbers=LAYOUT)


def _pooled(z):
    """The relu's and the pool's value, and per pool the place of the winner, (b, p, 2, q, 2, c) of 0 and 1."""
    b, h, w, c = z.shape
    tiles = z[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    best = tiles.max((2, 4))
    first = jnp.argmax(tiles.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4, c), 3)
    winner = (first[:, :, :, None] == jnp.arange(4)[:, None]) & (best > 0)[:, :, :, None]
    return jax.nn.relu(best), winner.reshape(b, h // 2, w // 2, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).astype(z.dtype)


def _lenet(_workload: Workload, weights, x):
    """Rows down to the first pool by matrix products and one convolution, then each place's 4 × 4 patch of the image."""
    (k1, b1), (k2, b2), (w1, c1), (w2, _) = (p for p in weights if p)
    h1, won1 = _pooled(_convolved(x, k1) + b1)
    h2, won2 = _pooled(_convolved(h1, k2) + b2)
    z = h2.reshape(len(x), -1) @ w1 + c1
    rows = ((w2.T * (z > 0)[:, None]).reshape(-1, w2.shape[0]) @ w1.T).reshape(len(x), 10, *h2.shape[1:])
    unpooled = (rows[:, :, :, None, :, None] * won2[:, None]).reshape(-1, 10, 10, h2.shape[-1])
    turned = lax.optimization_barrier(jnp.flip(k2, (0, 1)).transpose(0, 1, 3, 2))
    rows = _convolved(unpooled, turned, [(2, 3)] * 2).reshape(len(x), 10, *h1.shape[1:])
    # Of the pool's 2 × 2 places the winner's 3 × 3 taps, within 4 × 4.
    spread = jnp.stack(
        [jnp.stack([jnp.pad(k1[:, :, 0], ((i, 1 - i), (j, 1 - j), (0, 0))) for j in range(2)]) for i in range(2)]
    )
    patches = jnp.einsum("npiqjc,ijuvc->npqcuv", won1, spread)
    found = jnp.einsum("nmpqc,npqcuv->nmpquv", rows, patches)
    image = jnp.zeros((len(x), 10, 28, 28), rows.dtype)
    for u in range(4):
        for v in range(4):
            image = image.at[:, :, u : u + 26 : 2, v : v + 26 : 2].add(found[..., u, v])
    return image[..., None]


def _resnet(workload: Workload, weights, x):
    """Rows by convolutions with turned kernels, one for each parity of the places where those are 2 apart."""
    first, *blocks, (last, _) = (p for p in weights if p)
    z = _halved(x, first[0]) + first[1]
    h, winners = _overlapping(jax.nn.relu(z))
    kept = []
    for p in blocks:
        same = len(p) == 4
        inner = (_kept_wide(h, p[0]) if same else _halved(h, p[0])) + p[1]
        beside = h if same else h[:, ::2, ::2] @ p[4][0, 0]
        outer = _kept_wide(jax.nn.relu(inner), p[2]) + p[3] + beside
        kept.append((p, inner, outer))
        h = jax.nn.relu(outer)
    rows = jnp.broadcast_to((last.T / h[0, :, :, 0].size)[:, None, None], (len(x), 10, *h.shape[1:]))
    for p, inner, outer in kept[::-1]:
        rows = jnp.where(outer[:, None] > 0, rows, 0)
        past = jnp.where(inner[:, None] > 0, _pulled_back(rows, p[2], 1), 0)
        if len(p) == 4:
            rows = _pulled_back(past, p[0], 1) + rows
        else:
            rows = _pulled_back(past, p[0], 2) + _apart(rows @ p[4][0, 0].T, (0, 1), (0, 1))
    return _pulled_back(jnp.where(z[:, None] > 0, _unpooled(rows, winners), 0), first[0], 2)


def _all_places(kernel, size):
    """(size, size, size, size, in, out) of a 3 × 3 kernel on an image of 2 × 2, where XLA takes seconds for a convolution."""
    taps = np.arange(size)[None] - np.arange(size)[:, None] + 1
    return kernel[taps[:, None, :, None], taps[None, :, None, :]]


def _kept_wide(h, kernel):
    if h.shape[1] > 2:
        return _convolved(h, kernel, [(1, 1)] * 2)
    return jnp.einsum("nyxi,pqyxio->npqo", h, _all_places(kernel, h.shape[1]))


def _halved(h, kernel):
    half = kernel.shape[0] // 2
    return lax.conv_general_dilated(h, kernel, (2, 2), [(half, half)] * 2, dimension_numbers=LAYOUT)


def _apart(rows, rowwise, columnwise):
    """Rows at every second place of an image, from the given edges' widths on."""
    edges = [(0, 0, 0)] * (rows.ndim - 3) + [(*rowwise, 1), (*columnwise, 1), (0, 0, 0)]
    return lax.pad(rows, np.float32(0), edges)


def _pulled_back(rows, kernel, stride):
    """(b, m, p, q, out) to (b, m, p · stride, q · stride, in); XLA would turn a kernel at every place without the barrier."""
    flat, half = rows.reshape(-1, *rows.shape[2:]), kernel.shape[0] // 2
    size, turned = flat.shape[1], kernel.transpose(0, 1, 3, 2)
    if size <= 2 and stride == 1:
        return jnp.einsum("bmpqo,pqyxio->bmyxi", rows, _all_places(kernel, size))
    parts = {}
    for place in np.ndindex(stride, stride):
        ways = [_phase(kernel.shape[0], half, stride, parity) for parity in place]
        taps = lax.optimization_barrier(turned[ways[0][0]][:, ways[1][0]])
        parts[place] = lax.conv_general_dilated(flat, taps, (1, 1), [w[1] for w in ways], dimension_numbers=LAYOUT)
    found = jnp.stack([*parts.values()], -2).reshape(*flat.shape[:3], stride, stride, -1)
    return found.transpose(0, 1, 3, 2, 4, 5).reshape(*rows.shape[:2], size * stride, size * stride, -1)


def _phase(width, half, stride, parity):
    """The taps that reach the places of one parity, the last first, and the edges that they need."""
    first = (parity + half) % stride
    taps, shift = np.arange(first, width, stride)[::-1], (parity + half - first) // stride
    return taps, (len(taps) - 1 - shift, shift)


def _overlapping(h):
    """A 3 × 3 pool of stride 2: its values, and which of the 9 places won."""
    edged, size = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf), h.shape[1]
    taps = jnp.stack([edged[:, u : u + size : 2, v : v + size : 2] for u, v in np.ndindex(3, 3)])
    return taps.max(0), jnp.argmax(taps, 0)


def _unpooled(rows, winners):
    wide = [
        _apart(jnp.where((winners == 3 * u + v)[:, None], rows, 0), (u, 3 - u), (v, 3 - v)) for u, v in np.ndindex(3, 3)
    ]
    return sum(wide)[:, :, 1:-1, 1:-1]


def _lstm(_workload: Workload, weights, x):
    """Backwards through both layers, with one product a step in the loop and all else in one product over all steps."""
    (in1, re1, b1), (in2, re2, b2), (out, _) = weights
    first, kept1 = _states(x, in1, re1, b1)
    _, kept2 = _states(first, in2, re2, b2)
    zero = jnp.zeros((x.shape[1], len(x), *out.T.shape), x.dtype)
    last = zero.at[-1].set(out.T)
    rows = _pulled(kept2, in2, re2, last)
    return jnp.moveaxis(_pulled(kept1, in1, re1, rows), 0, 2)


def _states(x, inward, recurrent, bias):
    def step(carry, z):
        h, c = carry
        i, f, g, o = jnp.split(z + h @ recurrent, 4, -1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        new = f * c + i * g
        t = jnp.tanh(new)
        slopes = jnp.stack([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g)], 1), o * (1 - t * t), t * o * (1 - o), f
        return (o * t, new), (o * t, slopes)

    zero = jnp.zeros((len(x), recurrent.shape[0]), x.dtype)
    _, (states, slopes) = lax.scan(step, (zero, zero), jnp.moveaxis(x @ inward + bias, 1, 0))
    return jnp.moveaxis(states, 0, 1), slopes


def _pulled(slopes, inward, recurrent, given):
    """Rows by a layer's states, (steps, b, rows, h), to rows by its inputs."""

    def step(carry, one):
        by_h, by_c = carry
        (inner, of_state, outer, keep), more = one
        by_h = by_h + more
        by_c = by_c + by_h * of_state[:, None]
        by_z = jnp.concatenate(
            [(by_c[:, :, None] * inner[:, None]).reshape(*by_c.shape[:2], -1), by_h * outer[:, None]], -1
        )
        return ((by_z.reshape(-1, by_z.shape[-1]) @ recurrent.T).reshape(by_h.shape), by_c * keep[:, None]), by_z

    zero = jnp.zeros(given.shape[1:], given.dtype)
    _, by_z = lax.scan(step, (zero, zero), (slopes, given), reverse=True)
    return (by_z.reshape(-1, by_z.shape[-1]) @ inward.T).reshape(*by_z.shape[:3], -1)


def _cut(workload: Workload, weights, x):
    """An autoencoder at its code: what comes after it forwards, what comes before backwards, and their product."""
    widths = {place: layer[1] for place, layer in enumerate(workload.layers) if layer[0] == "dense"}
    narrow = min(widths, key=widths.__getitem__) + 1
    parts = [Workload("", (), workload.layers[part], 1) for part in (slice(narrow), slice(narrow, None))]
    before, after = network(parts[0], weights[:narrow]), network(parts[1], weights[narrow:])
    one = x[0]
    A = jax.jacfwd(after)(before(one))
    B = jax.jacrev(before)(one)
    return jnp.tensordot(A, B, 1)[None]


WRITTEN = {
    "mlp_classifier": _chain,
    "square_batch": _chain,
    "field": _chain,
    "whole_batch": _together,
    "lenet": _lenet,
    "resnet": _resnet,
    "lstm": _lstm,
    "conv_autoencoder": _cut,
    "tiny": _chain,
}
"""By the name of the workload."""
