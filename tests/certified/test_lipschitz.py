"""Lipschitz constants: known ones are attained, the three bounds keep their order, and so do their norms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import netjac as nj
from netjac.certified.bounds import boxes_of
from netjac.certified.layers import product_of_norms
from netjac.certified.norms import at_least, between, spectral


def dense(weights, activation):
    def apply(x):
        for W in weights[:-1]:
            x = activation(x @ W)
        return x @ weights[-1]

    return nj.network(apply, batched=True)


def test_a_net_without_negative_weights_attains_the_norm_of_their_product():
    """W₄W₃W₂W₁ is its Jacobian wherever all relus are open, and no Jacobian of it has a larger entry."""
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0, 1, s) for s in ((2, 10), (10, 30), (30, 20), (20, 2))]
    known = np.linalg.norm(np.linalg.multi_dot(weights), 2)
    found = nj.lipschitz(dense(weights, jax.nn.relu), np.array([[1.0, 2.0], [3.0, 0.5]]), radius=0.4)
    np.testing.assert_allclose(found.local, known, rtol=1e-9)
    np.testing.assert_allclose(found.lower, known, rtol=1e-9)
    assert (found.lower <= known).all()
    assert (known <= found.local).all()
    assert known <= found.product < 2 * known


@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh, jax.nn.softplus], ids=lambda f: f.__name__)
def test_seen_is_below_local_and_both_below_what_holds_everywhere(activation):
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(s) for s in ((3, 8), (8, 6), (6, 2))]
    net, x = dense(weights, activation), rng.standard_normal((40, 3))
    last = np.zeros(40)
    for radius in (0.0, 0.05, 0.3):
        found = nj.lipschitz(net, x, radius=radius)
        assert (found.lower <= found.local).all()
        assert (found.lower <= found.product).all()
        assert (found.upper == np.minimum(found.local, found.product)).all()
        assert (last <= found.local).all()
        last = found.local
        y = x + rng.uniform(-radius, radius, x.shape)
        assert (np.asarray(nj.jacobian(net, y).norm(2)) <= found.upper * (1 + 1e-12)).all()
    np.testing.assert_allclose(nj.lipschitz(net, x, radius=0.0).local, found.lower, rtol=1e-10)
    norms = np.prod([np.linalg.norm(W, 2) for W in weights])
    np.testing.assert_allclose(found.product, norms, rtol=1e-9)


def test_the_product_of_norms_follows_convolutions_pools_and_sums():
    n = torch.nn
    torch.manual_seed(0)
    net = n.Sequential(
        n.Conv2d(1, 2, 3, padding=1), n.ReLU(), n.MaxPool2d(2), n.AvgPool2d(2), n.Flatten(), n.Linear(2, 2)
    ).double()
    found = nj.lipschitz(net, np.random.default_rng(2).standard_normal((5, 1, 4, 4)))
    assert found.local is None
    assert (found.lower <= found.product).all()
    assert (found.upper == found.product).all()
    assert found.product < 5


def test_the_product_of_norms_is_measured_by_one_program(caplog):
    """Equation by equation each of its small operations was compiled by itself, some eighty for a net of two layers."""
    rng = np.random.default_rng(4)
    boxes = boxes_of(
        dense([rng.standard_normal(s) for s in ((3, 5), (5, 7))], jnp.tanh), rng.standard_normal((2, 3)), 0.0, "output"
    )
    with jax.log_compiles():
        norm = product_of_norms(boxes.point, boxes.of)
    assert 0 < norm < np.inf
    assert sum("Finished XLA compilation" in line for line in caplog.messages) <= 2


def test_what_multiplies_its_own_values_has_no_constant_everywhere():
    found = nj.lipschitz(nj.network(lambda x: x * x, batched=True), np.ones((1, 2)), radius=1.0)
    assert found.product == np.inf
    np.testing.assert_allclose(found.upper, 4.0, rtol=1e-12)


def test_norms_are_bounded_from_both_sides_and_closely():
    rng = np.random.default_rng(3)
    for shape in ((7, 3, 5), (7, 6, 2), (2, 1, 1), (2, 4, 0)):
        a = rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 8, (shape[0], 1, 1))
        known = np.linalg.norm(a, 2, (-2, -1)) if shape[-1] else np.zeros(shape[0])
        np.testing.assert_allclose(spectral(a), known, rtol=1e-12)
        assert (spectral(a) >= known * (1 - 1e-15)).all()
        assert (at_least(a, a) <= spectral(a)).all()
        np.testing.assert_allclose(at_least(a, a), known, rtol=1e-12)
    assert np.isinf(spectral(np.array([[np.inf, 0.0]])))
    lower, upper = -rng.uniform(0, 1, (9, 3, 4)), rng.uniform(0, 1, (9, 3, 4))
    most = between(lower, upper)
    for _ in range(50):
        assert (np.linalg.norm(rng.uniform(lower, upper), 2, (-2, -1)) <= most).all()


def test_it_says_what_it_found():
    told = repr(nj.lipschitz(dense([np.eye(2) * 3], None), np.ones((2, 2)), radius=0.1))
    assert told.splitlines()[0] == "Lipschitz constant, Euclidean norm, 2 samples"
    assert told.count("3") >= 3


def test_an_entry_that_many_windows_of_a_dilated_pool_hold_is_counted_as_often():
    net = nj.network(
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3), (1, 2), "VALID", window_dilation=(1, 2)),
        batched=True,
    )
    found = nj.lipschitz(net, np.eye(9)[4:5])
    np.testing.assert_allclose(found.lower, np.sqrt(3), rtol=1e-12)
    assert found.lower[0] <= found.product <= found.lower[0] * (1 + 1e-12)


def test_functions_that_choose_or_wave_have_a_norm_everywhere():
    net = nj.network(lambda x: jnp.sin(3 * x) + jnp.sign(x) + jnp.min(x, -1, keepdims=True), batched=True)
    np.testing.assert_allclose(nj.lipschitz(net, np.ones((1, 3))).product, 3 + np.sqrt(3), rtol=1e-12)
