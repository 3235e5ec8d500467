"""The numbers of a formula's factors are those of the network, not of the process that writes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TANGLED = """
import jax, jax.numpy as jnp, numpy as np, netjac as nj

def tangled(x):
    a = jnp.tanh(x @ np.linspace(-1, 1, 16).reshape(4, 4))
    b = jnp.sin(a)[:, ::-1]
    c = a[:, :, None] * b[:, None, :]
    d = jnp.einsum("bij,bj->bi", c, jnp.cumsum(a, 1))
    return jnp.einsum("bi,bij->bj", jnp.cumsum(d * b, 1), c) + jax.lax.cummax(d, axis=1)

print(nj.formula(nj.network(tangled, batched=True), np.ones((2, 4))).text)
"""


def written(seed):
    """The formula as a process with this seed of Python's hashes writes it."""
    done = subprocess.run(
        [sys.executable, "-c", TANGLED], env=os.environ | {"PYTHONHASHSEED": str(seed)}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_factors_are_numbered_alike_whatever_the_seed_of_the_hashes():
    formula = written(1)
    assert "∂u" in formula
    assert written(2) == formula
