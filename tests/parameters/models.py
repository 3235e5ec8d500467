"""Functions of named parameters as models, and their dense Jacobian by JAX's reverse mode."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from netjac.precision import precise


class Model:
    """A callable pytree: named float64 parameters and a function of them and of a batch."""

    def __init__(self, function, parameters):
        self.function, self.parameters = function, parameters

    def __call__(self, x):
        return self.function(self.parameters, x)


jax.tree_util.register_pytree_with_keys(
    Model,
    lambda m: (((jax.tree_util.GetAttrKey("parameters"), m.parameters),), m.function),
    lambda function, children: Model(function, *children),
)


def norm(h):
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


def dense(model, x):
    """(N·m, M) by jax.jacrev, the parameters in the order of their names."""
    with precise(True):
        x = jnp.asarray(x, np.float64 if np.asarray(x).dtype.kind == "f" else None)
        tree = jax.jit(jax.jacrev(lambda p: model.function(p, x)))(
            {key: jnp.asarray(value, np.float64) for key, value in model.parameters.items()}
        )
        rows = next(iter(tree.values())).shape
        rows = int(np.prod(rows[: len(rows) - np.ndim(model.parameters[next(iter(tree))])]))
        return np.concatenate([np.asarray(tree[key]).reshape(rows, -1) for key in sorted(tree)], 1)
