"""Jacobians through a narrow value: norms, singular values and Gram matrices from two thin factors, never the dense array."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from netjac.thin import svd
from tests.oracles import relative_error

RNG = np.random.default_rng(0)
W = [RNG.standard_normal(shape) / 3 for shape in ((20, 16), (16, 3), (3, 16), (16, 18))]


def code(x):
    for V in W[:-1]:
        x = jnp.tanh(x @ V)
    return x @ W[-1]


def made(batch=4, dtype=np.float64):
    net = nj.network(lambda x: code(x), batched=True)
    x = RNG.standard_normal((batch, 20)).astype(dtype)
    return nj.jacobian(net, x), np.asarray(nj.jacobian(net, x))


@pytest.fixture
def never_dense(monkeypatch):
    """Any computing of the dense array fails."""

    def refuse(*_args, **_options):
        raise AssertionError("the dense Jacobian was computed")

    monkeypatch.setattr(sys.modules["netjac.jacobian"], "computed", refuse)


def test_norms_and_singular_values_are_those_of_the_dense_array(never_dense):
    net = nj.network(lambda x: code(x), batched=True)
    x = RNG.standard_normal((4, 20))
    with jax.enable_x64(True):
        dense = np.asarray(jax.jit(jax.vmap(jax.jacrev(code)))(jnp.asarray(x)))
    J = nj.jacobian(net, x)
    assert relative_error(J.norm(2), np.linalg.norm(dense, 2, (1, 2))) < 1e-12
    assert relative_error(J.norm("fro"), np.linalg.norm(dense, "fro", (1, 2))) < 1e-12
    assert relative_error(J.singular_values(), np.linalg.svd(dense, compute_uv=False)) < 1e-12
    assert relative_error(J.gram(), dense @ dense.swapaxes(1, 2)) < 1e-12
    assert relative_error(J.normal(), dense.swapaxes(1, 2) @ dense) < 1e-12
    assert (np.asarray(J.rank()) == 3).all()
    assert np.isinf(np.asarray(J.cond())).all()
    u, s, vt = J.svd(3)
    assert relative_error(u * s[:, None] @ vt, dense) < 1e-12
    assert relative_error(u.swapaxes(1, 2) @ u, np.stack([np.eye(3)] * 4)) < 1e-12
    one = J[1]
    assert relative_error(one.norm(2), np.linalg.norm(dense[1], 2)) < 1e-12
    assert relative_error(J[1:3].singular_values(2), np.linalg.svd(dense[1:3], compute_uv=False)[:, :2]) < 1e-12


def test_more_triplets_than_the_width_come_from_the_dense_array():
    J, dense = made()
    u, s, vt = J.svd()
    assert u.shape == (4, 18, 18)
    assert relative_error(u * s[:, None] @ vt, dense) < 1e-12


def test_a_network_without_a_narrow_value_has_no_halves():
    net = nj.network(lambda x: jnp.tanh(x @ W[0]) @ W[0].T, batched=True)
    J = nj.jacobian(net, RNG.standard_normal((2, 20)))
    assert J._source.halves() is None
    assert relative_error(J.norm(2), np.linalg.norm(np.asarray(J), 2, (1, 2))) < 1e-12


def test_half_precision_is_worked_on_in_single():
    J, dense = made(2, np.float16)
    assert relative_error(J.norm(2), np.linalg.norm(dense.astype(np.float64), 2, (1, 2))) < 5e-3


def test_a_convolutional_autoencoder_of_many_pixels_takes_only_its_two_factors(never_dense):
    K, D = RNG.standard_normal((3, 3, 1, 4)) / 3, RNG.standard_normal((3, 3, 4, 1)) / 3
    A, B = RNG.standard_normal((2304, 6)) / 50, RNG.standard_normal((6, 2304)) / 3
    layout = ("NHWC", "HWIO", "NHWC")

    def f(x):
        h = jax.nn.relu(lax.conv_general_dilated(x, K, (2, 2), "SAME", dimension_numbers=layout))
        h = jnp.tanh(h.reshape(-1, 2304) @ A) @ B
        h = h.reshape(-1, 24, 24, 4)
        return lax.conv_general_dilated(h, D, (1, 1), [(1, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=layout)

    x = RNG.standard_normal((1, 48, 48, 1))
    J = nj.jacobian(nj.network(f, batched=True), x)
    left, right = J._source.halves()
    assert (left.shape, right.shape) == ((1, 2304, 6), (1, 6, 2304))
    s = np.asarray(J.singular_values())
    assert s.shape == (1, 2304)
    assert not s[0, 6:].any()
    iterated = scipy_norm(J)
    assert abs(s[0, 0] - iterated) < 1e-9 * iterated


def scipy_norm(J):
    """The largest singular value by products alone."""
    import scipy.sparse.linalg

    return scipy.sparse.linalg.svds(J.to_linear_operator(), k=1, return_singular_vectors=False)[0]


def test_the_two_qr_factorisations_agree_with_the_product():
    left, right = RNG.standard_normal((2, 9, 3)), RNG.standard_normal((2, 3, 7))
    u, s, vt = svd(left, right)
    assert relative_error(u * s[:, None] @ vt, left @ right) < 1e-14
