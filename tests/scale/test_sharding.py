"""Samples spread over eight devices: the same numbers, and what has samples stays spread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import netjac as nj
from tests.oracles import relative_error
from tests.scale.networks import network, samples
jax.config.update("jax_enable_x64", True)
assert len(jax.devices()) == 8
spread = NamedSharding(Mesh(np.array(jax.devices()), ("samples",)), PartitionSpec("samples"))
x, model, rng = samples(), network(), np.random.default_rng(0)
over = jax.device_put(x, spread)
"""
CHECKS = {
    "inputs and parameters": """
for wrt in ("input", "parameters.a"):
    J = nj.jacobian(model, over, wrt=wrt).to_jax()
    assert J.sharding.is_equivalent_to(spread, J.ndim), J.sharding
    assert relative_error(J, nj.jacobian(model, x, wrt=wrt).to_numpy()) < 1e-15
""",
    "products": """
v, u = rng.standard_normal((240, 5)), rng.standard_normal((240, 3))
J, one = nj.jacobian(model, over), nj.jacobian(model, x)
assert relative_error(np.asarray(J @ v), np.asarray(one @ v)) < 1e-14
assert relative_error(np.asarray(u @ J), np.asarray(u @ one)) < 1e-14
""",
    "answers from factors": """
J, one = nj.parameter_matrix(model, over), nj.parameter_matrix(model, x)
for name in ("gram", "row_norms", "normal_diagonal", "to_numpy"):
    assert relative_error(np.asarray(getattr(J, name)()), getattr(one, name)()) < 1e-14, name
assert relative_error(np.asarray(nj.ntk(model, over)), nj.ntk(model, x)) < 1e-14
""",
    "a convolution and dead units": """
k, w = rng.standard_normal((3, 3, 1, 4)), rng.standard_normal((144, 600))
def f(x):
    h = jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.maximum(jnp.maximum(h.reshape((len(x), -1)) @ w, 0) @ w.T, 0)
images = rng.standard_normal((16, 8, 8, 1))
net = nj.network(f, batched=True)
J = nj.jacobian(net, jax.device_put(images, spread)).to_jax()
assert J.sharding.is_equivalent_to(spread, J.ndim), J.sharding
assert relative_error(J, nj.jacobian(net, images).to_numpy()) < 1e-14
""",
    "pieces within a memory budget": """
J = nj.jacobian(model, over, memory="60kB").to_jax()
assert relative_error(J, nj.jacobian(model, x).to_numpy()) < 1e-15
""",
    "bad numbers": """
import pytest
bad = jax.device_put(np.where(np.arange(240)[:, None] == 100, np.nan, x), spread)
with pytest.raises(nj.NonFiniteError, match=r"nan at index \\(100, 0\\)"):
    nj.jacobian(model, bad)
""",
}


@pytest.mark.parametrize("check", CHECKS)
def test_eight_devices_are_as_one(check):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + CHECKS[check]],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
