"""Dead and saturated units: what counts as a unit, over arrays, files and batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import netjac as nj
from netjac.analysis.flow import subject

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6))
W = rng.standard_normal((6, 8))
# Column 0 is negative and column 1 above 6 at every sample.
SHIFT = np.array([-50.0, 50.0, 0, 0, 0, 0, 0, 0])


def share(activation, **options):
    network = nj.network(
        lambda x: nj.mark(activation(x @ W.astype(x.dtype) + SHIFT.astype(x.dtype)), "h"), batched=True
    )
    return nj.gradient_flow(network, X, samples=2, **options)["h"]


@pytest.mark.parametrize(
    "activation",
    [jax.nn.relu, lambda z: jnp.maximum(z, 0), lambda z: jnp.where(z > 0, z, 0), jax.nn.relu6, lambda z: jnp.clip(z, 0, 1e3),
     lambda z: jax.nn.relu(z) * 2 + 1],
    ids=["relu", "maximum", "where", "relu6", "clip", "and more"],
)  # fmt: skip
def test_a_unit_that_is_zero_with_slope_zero_at_every_sample_is_dead(activation):
    found = share(activation)
    assert found.dead == 1 / 8
    assert found.units == 8


def test_relu6_in_two_steps_is_one_unit_each():
    assert share(lambda z: jnp.minimum(jnp.maximum(z, 0), 6)).units == 8


@pytest.mark.parametrize(
    "activation",
    [jax.nn.softmax, jax.nn.gelu, jax.nn.silu, jnp.tanh, jax.nn.leaky_relu, jax.nn.elu, jax.nn.selu,
     lambda z: jnp.where(jnp.arange(8) > 3, z, 0), lambda z: z],
    ids=["softmax", "gelu", "silu", "tanh", "leaky", "elu", "selu", "mask", "nothing"],
)  # fmt: skip
def test_what_has_no_dead_units_has_no_share(activation):
    assert share(activation).dead is None


def test_a_gate_stuck_open_is_not_dead():
    assert share(jax.nn.hard_swish).dead == 1 / 8  # the one below −3, not the one above 3


@pytest.mark.parametrize(("activation", "slope"), [
    (jnp.tanh, lambda z: 1 - np.tanh(z) ** 2),
    (jax.nn.sigmoid, lambda z: 4 / (2 + np.exp(z) + np.exp(-z))),
])  # fmt: skip
def test_the_saturated_share_is_that_of_slopes_under_a_hundredth(activation, slope):
    found = share(activation)
    assert found.saturated == pytest.approx(np.mean(slope(X @ W + SHIFT) < 0.01))
    assert found.saturated >= 2 / 8


@pytest.mark.parametrize("kind", ["runs", "batches", "on disk"])
def test_units_are_counted_over_all_samples_however_they_come(kind, tmp_path, monkeypatch):
    def net(x):
        h = nj.mark(jax.nn.relu(x @ W.astype(x.dtype) - 3.5), "relu")
        return nj.mark(jnp.tanh(h), "tanh")

    network, given = nj.network(net, batched=True), X
    monkeypatch.setattr(subject, "MOST_AT_ONCE", 7)
    if kind == "batches":
        given = (X[start : start + 9] for start in range(0, 40, 9))
    elif kind == "on disk":
        np.save(tmp_path / "x.npy", X)
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    flow = nj.gradient_flow(network, given, samples=3)
    z = np.maximum(X @ W - 3.5, 0)
    assert 0 < flow["relu"].dead == np.mean(~z.any(0)) < 1
    assert flow["tanh"].saturated == pytest.approx(np.mean(1 - np.tanh(z) ** 2 < 0.01))
    assert flow.samples == 40
    taken = X[[0, 1, 2]] if kind == "batches" else X[[0, 20, 39]]
    alone = nj.gradient_flow(network, taken)
    assert np.array_equal(flow.whole.singular_values, alone.whole.singular_values)


def test_each_place_of_a_convolution_counts_over_all_samples():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(3 * 16, 2)
    )
    with torch.no_grad():
        module[0].bias[0] = -1e3
    x = torch.from_numpy(rng.standard_normal((5, 1, 6, 6)).astype("float32"))
    flow = nj.gradient_flow(module, x)
    alive = (module[1](module[0](x)) > 0).any(0)
    assert flow["1"].dead == pytest.approx(1 - alive.float().mean().item())
    assert flow["1"].dead >= 1 / 3
    assert [layer.name for layer in flow.layers] == ["0", "1", "3"]
    assert [layer.kind for layer in flow.layers] == ["Conv2d", "ReLU", "Linear"]
