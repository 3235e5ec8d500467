"""Questions about the Jacobian by the parameters, in JAX and with netjac."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.in_jax import network
from benchmarks.workloads import Workload, directions


@partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["workload"])
class Model:
    """The network as a callable tree of its weights."""

    def __init__(self, workload: Workload, weights) -> None:
        self.workload, self.weights = workload, weights

    def __call__(self, x):
        return jax.vmap(network(self.workload, self.weights))(x)


def ways(workload: Workload, weights, x) -> dict[str, Callable[[], Any]]:
    import netjac as nj

    f, samples = (lambda p, h: network(workload, p)(h)), jnp.asarray(x)
    weights = [tuple(map(jnp.asarray, p)) for p in weights]
    tangent, cotangent = directions(workload, weights)
    tree, cotangents = _tree(tangent, weights), jnp.asarray(cotangent.reshape((workload.batch, -1)))
    reverse = jax.vmap(jax.jacrev(f), (None, 0))

    def contracted(p, h):
        """Each parameter's Jacobian with itself: never all of J at once."""
        parts = [leaf.reshape((*leaf.shape[:2], -1)) for leaf in jax.tree.leaves(reverse(p, h))]
        kernel = sum(jnp.einsum("nip,mjp->nimj", part, part) for part in parts)
        return kernel.reshape((kernel.shape[0] * kernel.shape[1], -1))

    def dense(p, h):
        return jnp.concatenate([leaf.reshape((*leaf.shape[:2], -1)) for leaf in jax.tree.leaves(reverse(p, h))], -1)

    def norms(p, h):
        grads = jax.vmap(jax.grad(lambda p, h: f(p, h)[0]), (None, 0))(p, h)
        return jnp.sqrt(sum(jnp.square(leaf).reshape((len(h), -1)).sum(1) for leaf in jax.tree.leaves(grads)))

    def gram(p, h):
        J = dense(p, h)
        J = J.reshape((-1, J.shape[-1]))
        return J @ J.T

    def push(p, h):
        return jax.jvp(lambda p: jax.vmap(f, (None, 0))(p, h), (p,), (tree,))[1]

    def pull(p, h):
        back = jax.vjp(lambda p: jax.vmap(f, (None, 0))(p, h), p)[1]
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(back(cotangents))])

    theirs = {
        "kernel": {"jax dense J": gram, "jax jacrev, by parameter": contracted},
        "norms": {"jax vmap(grad)": norms},
        "rows": {"jax vmap(jacrev)": dense},
        "push": {"jax jvp": push},
        "pull": {"jax vjp": pull},
    }[workload.asks]
    network_ = nj.network(Model(workload, weights), batched=True)
    # The products alone: an operator is made once and multiplied often, as jax.jvp's jitted function is.
    J = nj.parameter_matrix(network_, x)
    ours = {
        "kernel": lambda: nj.ntk(network_, x).transpose(0, 2, 1, 3),
        "norms": lambda: nj.parameter_matrix(network_, x).row_norms(),
        "rows": lambda: nj.parameter_matrix(network_, x).to_numpy(),
        "push": lambda: J @ tangent,
        "pull": lambda: J.T @ cotangent,
    }[workload.asks]
    return {"netjac": ours, **{way: _called(jax.jit(function), weights, samples) for way, function in theirs.items()}}


def _called(function: Callable[..., Any], weights, samples) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(function(weights, samples))


def _tree(flat: np.ndarray, weights):
    leaves, structure = jax.tree.flatten(weights)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = [
        jnp.asarray(flat[end - leaf.size : end].reshape(leaf.shape)) for leaf, end in zip(leaves, ends, strict=True)
    ]
    return jax.tree.unflatten(structure, parts)
