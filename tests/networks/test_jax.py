"""JAX functions and callable pytrees as networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.networks.jax import JaxNetwork


def test_a_function_of_one_array_names_its_input_by_its_argument():
    J = nj.jacobian(lambda position: jnp.sin(position), np.ones(3), wrt="position")
    np.testing.assert_allclose(np.asarray(J), np.diag(np.cos(np.ones(3))), rtol=1e-12)


def test_a_tree_given_to_the_only_argument_is_named_by_its_keys():
    state = {"p": np.array([1.0, 2.0]), "v": np.array([3.0, 4.0])}
    J = nj.jacobian(lambda s: s["p"] * s["v"], state)
    assert set(J) == {"p", "v"}
    np.testing.assert_allclose(np.asarray(J["p"]), np.diag(state["v"]))


def test_several_arguments_are_taken_from_a_tuple_or_by_name_in_any_order():
    def f(a, b):
        return a * b.sum()

    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    by_place, by_name = nj.jacobian(f, (a, b)), nj.jacobian(f, {"b": b, "a": a})
    for name in ("a", "b"):
        np.testing.assert_allclose(np.asarray(by_place[name]), np.asarray(by_name[name]))
    np.testing.assert_allclose(np.asarray(by_place["a"]), 12 * np.eye(2))


def test_a_single_array_for_two_arguments_is_refused_with_their_names():
    with pytest.raises(nj.ShapeError, match="a, b"):
        nj.jacobian(lambda a, b: a * b, np.ones(2))


def test_outputs_are_named_by_their_keys():
    J = nj.jacobian(lambda x: {"double": 2 * x, "sum": x.sum()}, np.ones(3))
    assert {name: j.shape for name, j in J.items()} == {"double": (3, 3), "sum": (3,)}


def test_names_given_for_the_inputs_replace_the_arguments_own():
    network = nj.network(lambda x: x**2, names=["speed"])
    np.testing.assert_allclose(np.asarray(nj.jacobian(network, np.array([3.0]), wrt="speed")), [[6.0]])
    with pytest.raises(nj.ShapeError, match="1 names"):
        nj.jacobian(nj.network(lambda a, b: a + b, names=["one"]), (np.ones(1), np.ones(1)))


@jax.tree_util.register_pytree_with_keys_class
class Affine:
    """A callable pytree, as Equinox modules are."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def __call__(self, x):
        return jnp.tanh(self.weight @ x + self.bias)

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey
        return ((key("weight"), self.weight), (key("bias"), self.bias)), None

    @classmethod
    def tree_unflatten(cls, _aux, leaves):
        return cls(*leaves)


def test_the_leaves_of_a_callable_pytree_are_its_parameters():
    rng = np.random.default_rng(0)
    model, x = Affine(rng.standard_normal((2, 3)), rng.standard_normal(2)), rng.standard_normal(3)
    J = nj.jacobian(model, x, wrt="parameters")
    slope = 1 - np.tanh(model.weight @ x + model.bias) ** 2
    np.testing.assert_allclose(np.asarray(J["bias"]), np.diag(slope), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(J["weight"]), np.einsum("ij,i,k->ijk", np.eye(2), slope, x), rtol=1e-12)


def test_a_bare_function_sees_values_it_closes_over_change():
    scale = {"by": 2.0}

    def f(x):
        return scale["by"] * x

    before = np.asarray(nj.jacobian(f, np.ones(2)))
    scale["by"] = 5.0
    np.testing.assert_allclose(np.asarray(nj.jacobian(f, np.ones(2))), 2.5 * before)


def test_the_framework_itself_agrees_on_products_and_values():
    rng = np.random.default_rng(1)
    W, x, u = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal(4)
    network = JaxNetwork(lambda x: jnp.tanh(W @ x))
    with jax.enable_x64(True):
        network.flatten(x)
        (by_x,), by_parameters = network.pull_back([x], [u])
        (y,) = network.evaluate([x])
    assert by_parameters == {}
    np.testing.assert_allclose(by_x, u @ np.asarray(nj.jacobian(network, x)), rtol=1e-12)
    np.testing.assert_allclose(y, np.tanh(W @ x), rtol=1e-12)


def test_several_inputs_come_in_the_functions_order_whatever_their_names():
    f = lambda z, a, m: z * 2.0 + a * 3.0 + m * 5.0  # noqa: E731
    x = tuple(np.full(2, value) for value in (1.0, 2.0, 3.0))
    by_own_names = nj.jacobian(nj.network(f), x)
    assert {name: np.asarray(J)[0, 0] for name, J in by_own_names.items()} == {"z": 2.0, "a": 3.0, "m": 5.0}
    assert list(by_own_names) == ["z", "a", "m"]
    by_given_names = nj.jacobian(nj.network(f, names=["first", "second", "third"]), x)
    assert {n: np.asarray(J)[0, 0] for n, J in by_given_names.items()} == {"first": 2.0, "second": 3.0, "third": 5.0}
    by_dict = nj.jacobian(nj.network(f), {"m": x[2], "z": x[0], "a": x[1]})
    assert {name: np.asarray(J)[0, 0] for name, J in by_dict.items()} == {"z": 2.0, "a": 3.0, "m": 5.0}


def test_float64_stays_float64_when_a_network_is_called_and_x64_is_off():
    W = np.array([[1 / 3, 2 / 7]])
    x = np.array([[0.1], [1 / 3]])
    for function in (lambda x: jnp.sin(x @ W), jax.tree_util.Partial(lambda W, x: jnp.sin(x @ W), W)):
        net = nj.network(function, batched=True)
        y = net(x)
        assert y.dtype == np.float64
        assert np.abs(y - np.sin(x @ W)).max() < 1e-15
        assert net(x.astype("float32")).dtype == np.float32
    of_integers = nj.network(jax.tree_util.Partial(lambda W, n: W[0, n], W), batched=True)
    assert of_integers(np.array([1, 0])).tolist() == [2 / 7, 1 / 3]
    assert not jax.config.jax_enable_x64
