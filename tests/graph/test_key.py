"""A program's identity: what computes the same is compiled once, what does not is told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.compiled import counts
from netjac.graph.key import key
from netjac.graph.program import trace


def identity(f):
    return key(trace(f, jax.ShapeDtypeStruct((3,), jnp.float32))[0])


def scaled(slope):
    """tanh with a derivative that is `slope` of the value times what it should be; its rule calls the function itself."""

    @jax.custom_jvp
    def f(x):
        return jnp.tanh(x)

    @f.defjvp
    def rule(values, moving):
        y = f(*values)
        return y, slope(y) * moving[0]

    return f


@pytest.mark.parametrize("f", [jax.nn.relu, jax.nn.softplus, jax.nn.elu, jax.nn.relu6, jnp.logaddexp2])
def test_a_function_with_a_derivative_of_its_own_is_one_however_often_it_is_traced(f):
    def network(x):
        return f(x, x) if f is jnp.logaddexp2 else f(x)

    assert identity(lambda x: network(x)) == identity(lambda x: network(x))


def test_a_fresh_relu_network_is_not_compiled_again():
    W = np.random.default_rng(0).standard_normal((3, 3)).astype("float32")
    before = None
    for scale in (1.0, 2.0, 3.0):
        V = scale * W
        J = np.asarray(nj.jacobian(lambda x, V=V: jax.nn.relu(jax.nn.relu(x @ V) @ V), np.ones(3, "float32")))
        expected = jax.jacrev(lambda x, V=V: jax.nn.relu(jax.nn.relu(x @ V) @ V))(np.ones(3, "float32"))
        np.testing.assert_allclose(J, expected, rtol=1e-5, atol=1e-6)
        assert before in (None, dict(counts))
        before = dict(counts)


def test_equal_values_with_other_derivatives_are_not_the_same():
    ways = [lambda y: 1 - y**2, lambda y: 2 * (1 - y**2), lambda y: 3 * (1 - y**2), lambda y: 1 + y**2]
    ways += [lambda y, c=c: jnp.asarray([c, 1.0, 1.0]) * y for c in (1.0, 2.0)]
    assert all(identity(scaled(way)) == identity(scaled(way)) for way in ways)
    assert len({identity(scaled(way)) for way in ways}) == len(ways)
    x = np.ones(3, "float32")
    for way in ways:
        J = np.asarray(nj.jacobian(scaled(way), x))
        np.testing.assert_allclose(np.diag(J), np.broadcast_to(way(np.tanh(x)), 3), rtol=1e-6)


def test_derivatives_inside_derivatives_are_told_apart():
    def outer(inner):
        @jax.custom_jvp
        def f(x):
            return x + 1

        f.defjvp(lambda values, moving: (f(*values), jax.jvp(inner, values, moving)[1]))
        return f

    plain, double = scaled(lambda y: 1 - y**2), scaled(lambda y: 2 * (1 - y**2))
    assert identity(outer(plain)) == identity(outer(plain))
    assert identity(outer(plain)) != identity(outer(double))


def test_loops_around_them_are_the_same_too():
    def looped(f):
        return lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, length=3)[0]

    assert identity(looped(jax.nn.relu)) == identity(looped(jax.nn.relu))
    assert identity(looped(jax.nn.relu)) != identity(looped(jax.nn.softplus))
