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


def network(workload: Workload, weights):
    """One sample in, one sample out."""

    def f(h):
        for (kind, *rest), p in zip(workload.layers, weights, strict=True):
            if kind == "dense":
                h = ACTIVATIONS[rest[1]](h @ p[0] + p[1])
            elif kind == "conv":
                layout = ("NHWC", "HWIO", "NHWC")
                z = lax.conv_general_dilated(h[None], p[0], (1, 1), rest[2], dimension_numbers=layout)[0]
                h = ACTIVATIONS[rest[3]](z + p[1])
            elif kind == "pool":
                h = lax.reduce_window(h, -jnp.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")
            elif kind == "flatten":
                h = h.reshape(-1)
            else:
                h = _block(h, p, rest[0])
        return h

    return f


def _norm(h):
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def _block(h, p, heads):
    tokens, d = h.shape
    q, k, v = ((_norm(h) @ w).reshape(tokens, heads, -1) for w in p[:3])
    scores = jnp.einsum("thd,shd->hts", q, k) / np.sqrt(d // heads)
    scores = jnp.where(np.tril(np.ones((tokens, tokens), bool)), scores, -1e9)
    h = h + jnp.einsum("hts,shd->thd", jax.nn.softmax(scores, -1), v).reshape(tokens, d) @ p[3]
    return h + jax.nn.gelu(_norm(h) @ p[4], approximate=False) @ p[5]


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], np.ndarray]]:
    import netjac as nj

    f = network(workload, weights)
    reverse, forward = jax.jit(jax.vmap(jax.jacrev(f))), jax.jit(jax.vmap(jax.jacfwd(f)))
    made = nj.network(jax.vmap(f), batched=True)
    return {
        "netjac": lambda: np.asarray(nj.jacobian(made, x)),
        "jax jacrev": lambda: np.asarray(reverse(x)),
        "jax jacfwd": lambda: np.asarray(forward(x)),
    }


def predicted(workload: Workload, weights, x) -> dict[str, Any]:
    """What netjac's plan says before anything has run: operations, and seconds at the planner's rates."""
    import netjac as nj

    plan = nj.explain(nj.network(jax.vmap(network(workload, weights)), batched=True), x)
    return {"operations": plan.operations, "seconds": plan.seconds, "order": plan.order}
