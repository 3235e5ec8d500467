"""TensorFlow: conversion of Keras models, and functions and modules without Keras."""

import sys

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_cases import L, both_ways, chain, relative
from tf2jax._src import ops

from netjac.errors import MissingExtraError, ModelLoadError, StochasticNetworkError, UnsupportedOperationError
from netjac.networks.keras import keras_network
from netjac.networks.tensorflow import TensorFlowNetwork

X = np.random.default_rng(0).normal(size=(5, 3))


class Module(tf.Module):
    def __init__(self):
        super().__init__(name="module")
        rng = np.random.default_rng(1)
        self.kernel = tf.Variable(rng.normal(size=(3, 4)), dtype="float32", name="kernel")
        self.twin = tf.Variable(rng.normal(size=4), dtype="float32", name="kernel")
        self.scale = tf.Variable(2.0, trainable=False, name="scale")

    def __call__(self, x):
        h = tf.identity(tf.nn.silu(x @ self.kernel + self.twin) * self.scale, name="hidden")
        return {"h": h, "best": tf.argmax(h, 1)}


def prepared(network, x):
    _, flat = network.flatten(x)
    return network.prepare([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in flat])


def test_one_conversion_serves_every_batch_size():
    network = keras_network(chain((3,), L.Dense(2)))
    for batch in (1, 2, 7):
        network.prepare([jax.ShapeDtypeStruct((batch, 3), "float32")])
    assert network.conversions == 1


def test_a_keras_operation_without_a_rule_is_named_with_its_layer():
    class Beta(L.Layer):
        def call(self, x):
            return tf.math.betainc(x, x, x)

    network = keras_network(chain((3,), Beta(name="beta")))
    with pytest.raises(UnsupportedOperationError, match=r"layer 'beta' .* Betainc, .*engine=\"framework\""):
        network.prepare([jax.ShapeDtypeStruct((2, 3), "float32")])


def test_pooling_that_tensorflow_has_in_float32_only_is_exact_here_and_refused_by_the_framework():
    network = keras_network(chain((4, 4, 4, 1), L.MaxPooling3D(2)))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 4, 1))
    with jax.enable_x64(True):
        (y,) = prepared(network, x)(network.parameters, (jnp.asarray(x),))
    assert (y == x.reshape(2, 2, 2, 2, 2, 2, 2, 1).max(axis=(2, 4, 6))).all()
    with pytest.raises(UnsupportedOperationError, match="TensorFlow itself does not compute in float64"):
        network.evaluate([x])


def test_tangents_can_be_pushed_through_silu():
    network = keras_network(chain((3,), L.Activation("silu")))
    x = jnp.asarray(X, "float32")
    function = prepared(network, x)
    _, pushed = jax.jvp(lambda x: function({}, (x,))[0], (x,), (jnp.ones_like(x),))
    s = 1 / (1 + np.exp(-X))
    assert relative([pushed], [s + X * s * (1 - s)]) < 1e-6


def test_counted_loops_can_be_pulled_and_pushed_through():
    network = keras_network(chain((4, 3), L.LSTM(2)))
    x = jnp.ones((2, 4, 3), "float32")
    function = prepared(network, x)
    parameters = network.parameters
    forward = jax.jit(jax.jacfwd(lambda x: function(parameters, (x,))[0]))(x)
    reverse = jax.jit(jax.jacrev(lambda x: function(parameters, (x,))[0]))(x)
    assert relative([forward], [reverse]) < 1e-6


def test_the_table_of_tf2jax_is_put_back():
    before = dict(ops._jax_ops)
    prepared(keras_network(chain((4, 4, 4, 1), L.Conv3D(2, 2))), np.ones((1, 4, 4, 4, 1), "float32"))
    assert ops._jax_ops == before
    assert "Conv3D" not in before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_has_its_own_derivatives(dtype):
    network = TensorFlowNetwork(Module())
    ours, theirs = both_ways_floating(network, X.astype(dtype))
    for our, their in zip(ours, theirs, strict=True):
        assert relative(our, their) < 1e-6  # TensorFlow computes in float32, the dtype of the variables
    assert list(network.parameters) == ["kernel", "kernel~2", "scale"]
    assert network.trainable == {"kernel", "kernel~2"}
    assert network.output_names(2) == ("h", "best")
    assert network.layer_kinds()["hidden"] == "identity"


def both_ways_floating(network, x):
    """Values and pull-backs of the first output alone, by the prepared function and by TensorFlow."""
    with jax.enable_x64(x.dtype == np.float64):
        function = prepared(network, x)
        parameters = {name: value.astype(x.dtype) for name, value in network.parameters.items()}
        y, pull = jax.vjp(lambda p, x: function(p, (x,))[0], parameters, jnp.asarray(x))
        seed = np.random.default_rng(3).normal(size=y.shape).astype(x.dtype)
        to_parameters, to_x = pull(jnp.asarray(seed))
        values = network.evaluate([x])
        (own_x,), own_parameters = network.pull_back([x], [seed] + [None] * (len(values) - 1))
        assert y.dtype == values[0].dtype == own_x.dtype == x.dtype
        ours = [[y], [to_x], [to_parameters[name] for name in own_parameters]]
        return ours, [[values[0]], [own_x], list(own_parameters.values())]


def test_converted_float64_is_not_rounded_to_the_variables_float32():
    network = TensorFlowNetwork(Module())
    with jax.enable_x64(True):
        function = prepared(network, X)
        parameters = {name: value.astype("float64") for name, value in network.parameters.items()}
        h = function(parameters, (jnp.asarray(X),))[0]
    z = X @ np.asarray(parameters["kernel"]) + np.asarray(parameters["kernel~2"])
    assert relative([h], [2 * z / (1 + np.exp(-z))]) < 1e-14


def test_a_function_of_several_arguments_takes_them_by_order_or_name():
    network = TensorFlowNetwork(tf.function(lambda left, right: tf.sin(left) * right))
    assert network.flatten((X, X))[0] == ("left", "right")
    assert network.flatten({"right": X, "left": X})[0] == ("left", "right")
    ours, theirs = both_ways(network, [X, X])
    assert relative(ours[1], theirs[1]) < 1e-14


def test_custom_gradients_are_kept():
    @tf.custom_gradient
    def straight_through(x):
        return tf.round(x), lambda dy: 3.0 * dy

    network = TensorFlowNetwork(tf.function(lambda x: straight_through(x) * 2.0))
    ours, _ = both_ways(network, [X])
    seed = np.random.default_rng(2).normal(size=X.shape)
    assert relative(ours[1], [6 * seed]) < 1e-14


def test_branches_and_loops_of_autograph_agree():
    @tf.function
    def function(x):
        for _ in tf.range(3):
            x = tf.sin(x) * 1.5
        if tf.reduce_sum(x) > 0.0:
            x = x * x
        return x

    ours, theirs = both_ways(TensorFlowNetwork(function), [X])
    assert relative(ours[0], theirs[0]) < 1e-14
    assert relative(ours[1], theirs[1]) < 1e-14


def test_a_saved_model_keeps_its_parameters(tmp_path):
    class Saved(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(X[:3].astype("float32"), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, x):
            return tf.nn.relu(x @ self.kernel)

    tf.saved_model.save(Saved(), str(tmp_path))
    network = TensorFlowNetwork(tf.saved_model.load(str(tmp_path)))
    ours, theirs = both_ways(network, [X.astype("float32")])
    assert relative(ours[2], theirs[2]) < 1e-6
    assert list(network.parameters) == ["kernel"]


def test_random_operations_are_refused_by_name():
    network = TensorFlowNetwork(tf.function(lambda x: x + tf.random.normal([3], name="noise")))
    with pytest.raises(StochasticNetworkError, match="RandomStandardNormal"):
        prepared(network, X.astype("float32"))
    seeded = TensorFlowNetwork(tf.function(lambda x: x + tf.random.stateless_normal([3], seed=[1, 2])))
    with pytest.raises(UnsupportedOperationError, match="from a fixed seed"):
        prepared(seeded, X.astype("float32"))


def test_what_cannot_be_called_is_no_model():
    with pytest.raises(ModelLoadError, match="a Module cannot be called"):
        TensorFlowNetwork(tf.Module())


def test_without_tf2jax_the_way_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2jax", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'netjac\[tensorflow\]'"):
        prepared(keras_network(keras.Sequential([keras.Input((3,)), L.Dense(1)])), np.ones((1, 3), "float32"))
