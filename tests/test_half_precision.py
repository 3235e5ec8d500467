"""In half precision sums are made in float32 at least: an error of rounding once, not of 4096 additions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj

SHAPES = ((64, 4096), (4096, 32), (32, 8))


def network(weights):
    def f(x):
        for W in weights[:-1]:
            x = jnp.tanh(x @ W)
        return x @ weights[-1]

    return f


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("engine", ["auto", "forward", "reverse"])
def test_the_jacobian_is_rounded_as_its_dtype_asks(dtype, engine):
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal(s) / np.sqrt(s[0]), dtype) for s in SHAPES]
    x = jnp.asarray(rng.standard_normal((16, 64)), dtype)
    J = nj.jacobian(nj.network(network(weights), batched=True), x, engine=engine)
    with jax.enable_x64(True):
        exact = network([jnp.asarray(np.asarray(W), np.float64) for W in weights])
        expected = np.asarray(jax.vmap(jax.jacrev(exact))(np.asarray(x).astype(np.float64)))
    assert J.dtype == dtype
    found = np.asarray(J.to_jax()).astype(np.float64)
    assert np.linalg.norm(found - expected) < float(jnp.finfo(dtype).eps) * np.linalg.norm(expected)
