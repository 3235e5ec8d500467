"""The workloads in JAX, with jax.jacrev, jax.jacfwd and netjac."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.workloads import Workload

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, None: lambda z: z}
LAYOUT = ("NHWC", "HWIO", "NHWC")


def network(workload: Workload, weights):
    """One sample in, one sample out."""

    def f(h):
        for (kind, *rest), p in zip(workload.layers, weights, strict=True):
            h = LAYERS[kind](h, p, *rest)
        return h

    return f


def _dense(h, p, _width, activation):
    return ACTIVATIONS[activation](h @ p[0] + p[1])


def _convolved(h, kernel, stride, padding):
    half = kernel.shape[0] // 2
    pads = "VALID" if padding == "VALID" else [(half, half)] * 2
    return lax.conv_general_dilated(h[None], kernel, (stride, stride), pads, dimension_numbers=LAYOUT)[0]


def _conv(h, p, _channels, _kernel, padding, stride, activation):
    return ACTIVATIONS[activation](_convolved(h, p[0], stride, padding) + p[1])


def _deconv(h, p, _channels, activation):
    pads = [(1, 2)] * 2
    z = lax.conv_general_dilated(h[None], p[0], (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=LAYOUT)[0]
    return ACTIVATIONS[activation](z + p[1])


def _residual(h, p, _channels, stride):
    inner = jax.nn.relu(_convolved(h, p[0], stride, "HALF") + p[1])
    beside = _convolved(h, p[4], stride, "VALID") if len(p) > 4 else h
    return jax.nn.relu(_convolved(inner, p[2], 1, "HALF") + p[3] + beside)


def _pool(h, _p, size, stride):
    half = size // 2 * (size % 2)
    pads = [(half, half)] * 2 + [(0, 0)]
    return lax.reduce_window(h, -jnp.inf, lax.max, (size, size, 1), (stride, stride, 1), pads)


def _lstm(h, p, width, given):
    def step(carry, z):
        state, cell = carry
        i, f, g, o = jnp.split(z + state @ p[1], 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        state = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (state, cell), state

    zero = jnp.zeros(width, h.dtype)
    (last, _), states = lax.scan(step, (zero, zero), h @ p[0] + p[2])
    return states if given == "all" else last


def _norm(h):
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def _block(h, p, heads):
    tokens, d = h.shape
    q, k, v = ((_norm(h) @ w).reshape(tokens, heads, -1) for w in p[:3])
    scores = jnp.einsum("thd,shd->hts", q, k) / np.sqrt(d // heads)
    scores = jnp.where(np.tril(np.ones((tokens, tokens), bool)), scores, -1e9)
    h = h + jnp.einsum("hts,shd->thd", jax.nn.softmax(scores, -1), v).reshape(tokens, d) @ p[3]
    return h + jax.nn.gelu(_norm(h) @ p[4], approximate=False) @ p[5]


LAYERS = {
    "dense": _dense,
    "conv": _conv,
    "deconv": _deconv,
    "residual": _residual,
    "pool": _pool,
    "mean": lambda h, _p: h.mean((0, 1)),
    "flatten": lambda h, _p: h.reshape(-1),
    "shape": lambda h, _p, *sizes: h.reshape(sizes),
    "lstm": _lstm,
    "block": _block,
}


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], Any]]:
    import netjac as nj

    f, made = network(workload, weights), _ours(workload, weights)
    if workload.whole:
        reverse, forward = jax.jit(jax.jacrev(f)), jax.jit(jax.jacfwd(f))
    else:
        reverse, forward = jax.jit(jax.vmap(jax.jacrev(f))), jax.jit(jax.vmap(jax.jacfwd(f)))
    return {
        "netjac": (lambda: nj.jacobian(made, x).to_scipy())
        if workload.sparse
        else lambda: np.asarray(nj.jacobian(made, x)),
        "jax jacrev": lambda: np.asarray(reverse(x)),
        "jax jacfwd": lambda: np.asarray(forward(x)),
    }


def _ours(workload: Workload, weights):
    import netjac as nj

    f = network(workload, weights)
    return nj.network(f, batched=False) if workload.whole else nj.network(jax.vmap(f), batched=True)


def predicted(workload: Workload, weights, x) -> dict[str, Any]:
    """What netjac's plan says before anything has run: operations, and seconds at the planner's rates."""
    import netjac as nj

    made = _ours(workload, weights)
    plan, J = nj.explain(made, x), nj.jacobian(made, x)
    entries = J.structure.entries * workload.batch if workload.sparse else np.prod(J.shape)
    size = int(entries) * J.dtype.itemsize
    return {"operations": plan.operations, "bytes": size, "seconds": plan.seconds, "order": plan.order}
