"""The same weights give the same Jacobian in Keras on every backend, in torch and in JAX, and by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax

import netjac as nj
from tests.networks.known_networks import CONV, DENSE, DTYPES, INPUTS, NAMES
from tests.oracles import differences, relative_error

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
BACKENDS = ("jax", "tensorflow", "torch")
everywhere = pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in NAMES for d in DTYPES])


@pytest.fixture(scope="module")
def in_keras(tmp_path_factory):
    """What each backend finds in a process of its own, as the backend is fixed when Keras is imported.

    On JAX without x64, Keras would hold the weights of a float64 model in float32.
    """
    folder, found = tmp_path_factory.mktemp("everywhere"), {}
    for backend in BACKENDS:
        path = folder / f"{backend}.npz"
        done = subprocess.run(
            [sys.executable, "-m", "tests.networks.known_networks", str(path)],
            env=os.environ | {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[backend] = dict(np.load(path))
    return found


def in_jax(name):
    def dense(x):
        (V, a), (W, b) = ([jnp.asarray(p, x.dtype) for p in pair] for pair in DENSE)
        return jnp.tanh(x @ V + a) @ W + b

    def conv(x):
        (K, a), (W, b) = ([jnp.asarray(p, x.dtype) for p in pair] for pair in CONV)
        z = lax.conv_general_dilated(x, K, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + a
        h = lax.reduce_window(jax.nn.relu(z), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return h.reshape(x.shape[0], -1) @ W + b

    return dense if name == "dense" else conv


class ChannelsLast(torch.nn.Module):
    """The convolutional network on images as Keras has them, flattened in Keras's order."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(1, 32, 3), torch.nn.Linear(13 * 13 * 32, 10)

    def forward(self, x):
        h = torch.nn.functional.max_pool2d(torch.relu(self.conv(x.permute(0, 3, 1, 2))), 2)
        return self.head(h.permute(0, 2, 3, 1).flatten(1))


def in_torch(name, dtype):
    if name == "dense":
        module, weights = torch.nn.Sequential(torch.nn.Linear(5, 10), torch.nn.Tanh(), torch.nn.Linear(10, 2)), DENSE
    else:
        module, weights = ChannelsLast(), CONV
    arrays = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T for pair in weights for a in pair]
    module = module.to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return module


def by_hand(name, x):
    """φ′Wᵀ ⋯ in NumPy, in float64, one sample."""
    if name == "dense":
        (V, a), (W, _) = DENSE
        return W.T @ ((1 - np.tanh(x @ V + a) ** 2)[:, None] * V.T)
    (K, a), (W, _) = CONV
    patches = np.lib.stride_tricks.sliding_window_view(x[..., 0], (3, 3))
    z = np.einsum("hwij,ijc->hwc", patches, K[:, :, 0]) + a
    tiles = np.maximum(z, 0).reshape(13, 2, 13, 2, 32).transpose(0, 2, 4, 1, 3).reshape(13, 13, 32, 4)
    J, readout = np.zeros((10, 28, 28)), W.reshape(13, 13, 32, 10)
    for row, column, channel in np.ndindex(13, 13, 32):
        step = tiles[row, column, channel].argmax()
        top, left = 2 * row + step // 2, 2 * column + step % 2
        if z[top, left, channel] > 0:
            kernel = K[:, :, 0, channel]
            J[:, top : top + 3, left : left + 3] += readout[row, column, channel][:, None, None] * kernel
    return J[..., None]


@everywhere
def test_keras_on_every_backend_agrees_with_the_formula(in_keras, name, dtype):
    expected = np.stack([by_hand(name, x) for x in INPUTS[name].astype(dtype).astype(np.float64)])
    for backend, found in in_keras.items():
        for way in ("netjac", "framework"):
            assert found[f"{dtype}/{name}/{way}"].dtype == dtype
            assert relative_error(found[f"{dtype}/{name}/{way}"], expected) < TOLERANCE[dtype], (backend, way)
        assert relative_error(found[f"{dtype}/{name}/netjac, one sample"], expected[:1]) < TOLERANCE[dtype], backend


@everywhere
def test_torch_and_jax_agree_with_keras(in_keras, name, dtype):
    x, reference = INPUTS[name].astype(dtype), in_keras["jax"][f"{dtype}/{name}/netjac"]
    tensor = torch.from_numpy(x)
    module, function = in_torch(name, dtype), in_jax(name)
    found = {
        "torch": nj.jacobian(module, tensor).to_numpy(),
        "torch's own": nj.jacobian(module, tensor, engine="framework").to_numpy(),
        "jax": np.asarray(nj.jacobian(nj.network(function, batched=True), x)),
        "jax, one at a time": np.stack([np.asarray(nj.jacobian(lambda v: function(v[None])[0], one)) for one in x]),
    }
    for home, J in found.items():
        assert J.dtype == dtype
        assert relative_error(J, reference) < TOLERANCE[dtype], home


def test_central_differences_agree():
    x = INPUTS["dense"]
    J = np.asarray(nj.jacobian(nj.network(in_jax("dense"), batched=True), x))
    assert relative_error(J, np.stack([differences(lambda v: in_jax("dense")(v[None])[0], one) for one in x])) < 1e-9
    image = INPUTS["conv"][:1]
    J = np.asarray(nj.jacobian(nj.network(in_jax("conv"), batched=True), image))
    assert relative_error(J[0], differences(lambda v: in_jax("conv")(v[None])[0], image[0])) < 1e-8
