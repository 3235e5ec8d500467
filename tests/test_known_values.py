"""Values that can be worked out by hand, and the four ways to a Jacobian that must agree."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from tests.oracles import differences, jacrev, relative_error

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("x", "gain"), [((0.0, 100.0, 0.0), 4), ((3.0, 4.0, 0.0), 3)])
def test_a_relu_net_counts_its_live_units(x, gain):
    W1, b1 = np.ones((4, 3)), np.array([-10.0, 1, 1, 1])
    W2, b2 = np.ones((2, 4)), np.array([-1.0, 1])
    J = nj.jacobian(lambda x: W2 @ jax.nn.relu(W1 @ x + b1) + b2, np.array(x))
    np.testing.assert_array_equal(np.asarray(J), gain * np.ones((2, 3)))


def test_the_jacobian_of_softmax_is_diag_p_minus_ppt_with_rows_that_sum_to_zero():
    x = RNG.standard_normal(6)
    p = np.exp(x) / np.exp(x).sum()
    J = np.asarray(nj.jacobian(jax.nn.softmax, x))
    np.testing.assert_allclose(J, np.diag(p) - np.outer(p, p), atol=1e-15)
    np.testing.assert_allclose(J.sum(1), 0, atol=1e-15)


def test_one_minus_relu_of_one_minus_x():
    J = nj.jacobian(lambda x: 1 - jax.nn.relu(1 - x), np.array([1.0, 2, 3, 0, -1, 7]))
    np.testing.assert_array_equal(np.asarray(J), np.diag([0.0, 0, 0, 1, 1, 0]))


def closed_form(weights, x):
    """J = W_Lᵀ φ′ ⋯ φ′ W_1ᵀ for a net of tanh layers and a linear last one."""
    J, h = np.eye(len(x)), x
    for place, (W, b) in enumerate(weights):
        z = h @ W + b
        last = place == len(weights) - 1
        J = (W.T if last else (1 - np.tanh(z) ** 2)[:, None] * W.T) @ J
        h = z if last else np.tanh(z)
    return J


def net(weights):
    def f(x):
        for W, b in weights[:-1]:
            x = jnp.tanh(x @ W + b)
        return x @ weights[-1][0] + weights[-1][1]

    return f


@pytest.mark.parametrize("widths", [(4, 7, 3), (5, 10, 2), (6, 5, 4, 3, 2)])
def test_the_four_ways_agree_for_a_dense_net(widths):
    weights = [(RNG.standard_normal(s), RNG.standard_normal(s[1])) for s in pairwise(widths)]
    f, x = net(weights), RNG.standard_normal((3, widths[0]))
    J = np.asarray(nj.jacobian(nj.network(f, batched=True), x))
    for b in range(3):
        assert relative_error(J[b], closed_form(weights, x[b])) < 1e-14
        assert relative_error(J[b], jacrev(f, x[b])) < 1e-14
        assert relative_error(J[b], differences(f, x[b])) < 1e-8
        assert relative_error(np.asarray(nj.jacobian(f, x[b])), J[b]) < 1e-14


def test_the_four_ways_agree_for_a_small_convolutional_net():
    K, W = RNG.standard_normal((3, 3, 1, 32)) / 3, RNG.standard_normal((13 * 13 * 32, 10)) / 70

    def f(x):
        h = jax.nn.relu(lax.conv_general_dilated(x, K, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return h.reshape(x.shape[0], -1) @ W

    x = RNG.standard_normal((2, 28, 28, 1))
    J = np.asarray(nj.jacobian(nj.network(f, batched=True), x))
    full = jacrev(f, x)
    for b in range(2):
        assert relative_error(J[b], full[b, :, b]) < 1e-13
    probe = RNG.standard_normal((20, *x.shape)) * 1e-7
    for v in probe[:3]:
        rise = (np.asarray(f64(f, x + v)) - np.asarray(f64(f, x - v))) / 2
        assert relative_error(np.einsum("bohwc,bhwc->bo", J, v), rise) < 1e-6


def f64(f, x):
    with jax.enable_x64(True):
        return f(jnp.asarray(x))
