"""One network has one flow, in Keras on every backend, torch and JAX; a Keras training does not notice that it is watched."""

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

import netjac as nj
from tests.flow.known import SIZES, WEIGHTS, X
from tests.flow.models import sigma

BACKENDS = ("jax", "tensorflow", "torch")


@pytest.fixture(scope="module")
def in_keras(tmp_path_factory):
    """What each backend finds, in a process of its own."""
    folder, found = tmp_path_factory.mktemp("flow"), {}
    for backend in BACKENDS:
        path = folder / f"{backend}.npz"
        done = subprocess.run(
            [sys.executable, "-m", "tests.flow.in_keras", str(path)],
            env=os.environ | {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[backend] = dict(np.load(path))
    return found


def in_torch():
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    ).double()
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), [p for W, b in WEIGHTS for p in (W.T, b)], strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return module


def in_jax(x):
    for (W, b), act in zip(WEIGHTS, (jnp.tanh, jax.nn.relu, lambda z: z), strict=True):
        x = nj.mark(act(x @ W.astype(x.dtype) + b.astype(x.dtype)), f"h{W.shape[1]}")
    return x


def test_the_flow_of_one_network_is_one_flow(in_keras):
    jax_flow = nj.gradient_flow(nj.network(in_jax, batched=True), X)
    torch_flow = nj.gradient_flow(in_torch(), torch.from_numpy(X), layers=["1", "3", "4"])
    assert len(jax_flow.layers) == len(SIZES) - 1
    for n, (ours, theirs) in enumerate(zip(jax_flow.layers, torch_flow.layers, strict=True)):
        for kind in ("own", "through"):
            expected = getattr(ours, kind).singular_values
            found = {b: keras[f"{kind}{n}"] for b, keras in in_keras.items()} | {
                "torch": getattr(theirs, kind).singular_values
            }
            for values in found.values():
                assert np.abs(values - expected).max() < 1e-12
    for keras in in_keras.values():
        assert np.abs(keras["whole"] - jax_flow.whole.singular_values).max() < 1e-12
        assert keras["dead"] == jax_flow.layers[1].dead == torch_flow["3"].dead
        assert keras["saturated"] == jax_flow.layers[0].saturated == torch_flow["1"].saturated


def test_it_is_that_of_the_formula():
    flow = nj.gradient_flow(nj.network(in_jax, batched=True), X)
    (V, a), (W, b), (U, _) = WEIGHTS
    for sample, x in enumerate(X):
        h = np.tanh(x @ V + a)
        J = U.T @ ((h @ W + b > 0)[:, None] * W.T) @ ((1 - h**2)[:, None] * V.T)
        assert np.abs(flow.whole.singular_values[sample] - sigma(J)).max() < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_watched_training_ends_bit_for_bit_where_it_would_have(in_keras, backend):
    found = in_keras[backend]
    names = [name.removeprefix("without") for name in found if name.startswith("without")]
    assert len(names) > 20
    for name in names:
        assert found[f"with{name}"].tobytes() == found[f"without{name}"].tobytes(), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_callback_records_at_its_interval_over_epochs_and_fits(in_keras, backend):
    # Two fits of six batches: at the start, at 4, 8 and 12, and at the end of the first fit.
    assert in_keras[backend]["steps"].tolist() == [0, 4, 6, 8, 12]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_callback_sees_the_weights_as_they_are_trained(in_keras, backend):
    found = in_keras[backend]
    assert set(found["verdicts"]) == {"vanishing"}
    assert len(set(found["whole rms"].tolist())) == 5
    rms = found["rms"][-1][:-1]
    assert (np.diff(rms) > 0).all()  # the nearer to the output, the more
