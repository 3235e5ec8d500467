"""A small network that several processes can make again: the same weights and samples in each."""

import numpy as np

import netjac as nj
from netjac.networks.network import Network

SAMPLES, INPUTS, HIDDEN, OUTPUTS = 240, 5, 7, 3


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.standard_normal((INPUTS, HIDDEN)), "b": rng.standard_normal((HIDDEN, OUTPUTS))}


def samples(seed=1, count=SAMPLES):
    return np.random.default_rng(seed).standard_normal((count, INPUTS))


def network(parameters=None) -> Network:
    import jax
    import jax.numpy as jnp

    parameters = parameters or weights()

    class Model:
        def __init__(self, parameters):
            self.parameters = parameters

        def __call__(self, x):
            return jnp.tanh(x @ self.parameters["a"]) @ self.parameters["b"]

    jax.tree_util.register_pytree_with_keys(
        Model,
        lambda m: (((jax.tree_util.GetAttrKey("parameters"), m.parameters),), None),
        lambda _, children: Model(children[0]),
    )
    return nj.network(Model(parameters), batched=True)
