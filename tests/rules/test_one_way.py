"""Primitives for which JAX has one mode only: every order and every product is right all the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from netjac.graph.program import trace
from netjac.rules.loops import directions
from tests.oracles import jacfwd, jacrev, relative_error

RNG = np.random.default_rng(2)
W = RNG.standard_normal((4, 4)) / 2
X = RNG.standard_normal((4, 4))


@jax.custom_vjp
def squared(x):
    return x**2


squared.defvjp(lambda x: (x**2, x), lambda x, u: (2 * u * x,))


def looped(x):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1] @ W)), (0, x))[1]


def dilated_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), "VALID", window_dilation=(1, 2))


ONE_WAY = {
    "custom_vjp": (squared, jacrev, (False, True)),
    "custom_vjp in a scan": (lambda x: lax.scan(lambda c, t: (c + squared(t), c), x[0], x)[0], jacrev, (False, True)),
    "while": (looped, jacfwd, (True, False)),
    "dilated pool": (dilated_pool, jacfwd, (True, False)),
    "dilated pool in a cond": (lambda x: lax.cond(x[0, 0] < 9, dilated_pool, dilated_pool, x), jacfwd, (True, False)),
    "solve": (lambda x: jnp.linalg.solve(x + 4 * jnp.eye(4), x[0]), jacfwd, (True, True)),
    "inverse": (jnp.linalg.inv, jacfwd, (True, True)),
}
named = pytest.mark.parametrize("name", ONE_WAY)


@named
def test_which_modes_there_are_is_known(name):
    f, _, expected = ONE_WAY[name]
    program, _ = trace(f, jax.ShapeDtypeStruct(X.shape, jnp.float32))
    modes = np.array([directions(eqn) for eqn in program.equations])
    assert tuple(modes.all(0)) == expected


@named
def test_every_order_goes_through(name):
    f, oracle, _ = ONE_WAY[name]
    g = lambda x: f(x @ W) * 2  # noqa: E731
    expected = oracle(g, X)
    for engine in ("auto", "forward", "reverse"):
        assert relative_error(nj.jacobian(g, X, engine=engine), expected) < 1e-12, engine


@named
def test_products_rows_and_columns_need_no_mode_that_is_missing(name):
    f, oracle, _ = ONE_WAY[name]
    expected = oracle(f, X)
    fresh = lambda: nj.jacobian(f, X)  # noqa: E731
    out, inn = fresh().out_shape, fresh().in_shape
    matrix = expected.reshape(int(np.prod(out)), int(np.prod(inn)))
    v, u = RNG.standard_normal(inn), RNG.standard_normal(out)
    assert relative_error(fresh() @ v, (matrix @ v.ravel()).reshape(out)) < 1e-12
    assert relative_error(u @ fresh(), (u.ravel() @ matrix).reshape(inn)) < 1e-12
    assert relative_error(fresh().rows(1), matrix[1].reshape(inn)) < 1e-12
    assert relative_error(fresh().columns(2), matrix[:, 2].reshape(out)) < 1e-12
    assert relative_error(fresh().to_linear_operator().T @ u.ravel(), u.ravel() @ matrix) < 1e-12
    assert relative_error(fresh().to_linear_operator() @ v.ravel(), matrix @ v.ravel()) < 1e-12


def test_one_sample_of_a_one_way_network_multiplies_too():
    net = nj.network(looped, batched=True)
    expected = np.asarray(nj.jacobian(net, X))
    u = RNG.standard_normal(4)
    assert relative_error(u @ nj.jacobian(net, X)[1], u @ expected[1]) < 1e-12


def test_what_the_output_does_not_pass_blocks_no_mode():
    """A while loop beside the path, on values that x does not reach, leaves reverse products to a single sweep."""
    f = lambda x: jnp.sin(x) * lax.while_loop(lambda c: c < 8, lambda c: c * 2, 1.0)  # noqa: E731
    x = RNG.standard_normal(2**17)
    J = nj.jacobian(f, x, memory="1MiB")
    assert relative_error(x @ J, 8 * np.cos(x) * x) < 1e-12
    assert relative_error(J @ x, 8 * np.cos(x) * x) < 1e-12
