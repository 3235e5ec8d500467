"""J's own derivative, forwards and in reverse, through every primitive; and J under jit and vmap at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from tests.oracles import relative_error
from tests.rules.test_structures import SHAPES, UNARY

NHWC = ("NHWC", "HWIO", "NHWC")


def draw(*shape):
    return np.random.default_rng([len(shape), *shape]).standard_normal(shape)


K = draw(3, 2, 2, 3)
WINDOWS = {
    "convolution": lambda x: lax.conv_general_dilated(x, K, (1, 1), "SAME", dimension_numbers=NHWC),
    "strided convolution": lambda x: lax.conv_general_dilated(x, K, (2, 2), [(1, 0), (0, 1)], dimension_numbers=NHWC),
    "convolution by its kernel": lambda x: lax.conv_general_dilated(
        x, jnp.transpose(x, (1, 2, 3, 0))[:2, :2], (1, 1), "SAME", dimension_numbers=NHWC
    ),
    "tiling max pool": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "overlapping max pool": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 1, 1, 1), "SAME"),
    "average pool": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME") / 4,
}
FORWARD_ONLY = {"while"}  # JAX has no reverse mode of a loop of unknown length
NO_SECOND = {"igamma", "igammac", "betainc"}  # JAX has no second derivative of these


def curved(f):
    """A function whose second derivative takes f's first one and its second."""
    return lambda x: f(x) + 0.5 * f(x) ** 2


def second_derivatives_agree(f, x, reverse=True):
    with jax.enable_x64(True):
        x = jnp.asarray(x)
        expected = jax.jit(jax.jacfwd(jax.jacfwd(f)))(x)
        J = nj.jacobian_function(f)
        assert relative_error(jax.jit(jax.jacfwd(J))(x), expected) < 1e-9
        if reverse:
            shape = expected.shape[: -x.ndim]
            v = jnp.cos(jnp.arange(np.prod(shape), dtype=x.dtype)).reshape(shape)
            gradient = jax.jit(jax.grad(lambda x: jnp.sum(v * J(x))))(x)
            assert relative_error(gradient, jnp.tensordot(v, expected, v.ndim)) < 1e-9
        assert expected.any()


@pytest.mark.parametrize("name", sorted(set(UNARY) - NO_SECOND))
def test_of_an_elementwise_function(name):
    second_derivatives_agree(curved(UNARY[name]), np.array([[0.6, -1.1], [1.7, -0.45]]))


@pytest.mark.parametrize("name", SHAPES)
def test_of_a_primitive(name):
    f = SHAPES[name]
    second_derivatives_agree(curved(f), draw(2, 3, 4), reverse=name not in FORWARD_ONLY)


@pytest.mark.parametrize("name", WINDOWS)
def test_of_windows(name):
    second_derivatives_agree(curved(WINDOWS[name]), draw(2, 3, 4, 2))


def test_the_jacobian_of_the_jacobian_of_a_small_net():
    W, V = draw(3, 4), draw(4, 2)
    f = lambda x: jax.nn.softmax(jax.nn.gelu(x @ W) @ V)  # noqa: E731
    with jax.enable_x64(True):
        x = jnp.asarray(draw(3))
        twice = jax.jit(nj.jacobian_function(nj.jacobian_function(f)))(x)
        assert relative_error(twice, jax.jit(jax.jacfwd(jax.jacrev(f)))(x)) < 1e-12


def test_under_jit_vmap_and_grad_at_once():
    K2 = draw(3, 3, 1, 2)

    def net(x):
        h = lax.conv_general_dilated(x[None], K2, (1, 1), "SAME", dimension_numbers=NHWC)[0]
        return jnp.tanh(lax.reduce_window(h, -jnp.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")).sum((0, 1))

    with jax.enable_x64(True):
        x = jnp.asarray(draw(3, 4, 4, 1))
        penalty = lambda J: jax.jit(jax.vmap(jax.grad(lambda s: jnp.sum(J(net)(s) ** 2))))(x)  # noqa: E731
        assert relative_error(penalty(nj.jacobian_function), np.asarray(penalty(jax.jacrev))) < 1e-12
