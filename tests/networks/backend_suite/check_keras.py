"""What a Keras network is called, takes, gives, and leaves as it was."""

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras_cases import L, assert_agrees, both_ways, chain, inputs_for, relative, set_weights

import netjac as nj
from netjac.errors import NetjacError, ShapeError, StochasticNetworkError
from netjac.networks.keras import keras_network


def classifier():
    return keras.Sequential(
        [keras.Input((3,)), L.Dense(4, activation="relu"), L.BatchNormalization(), L.Dropout(0.5), L.Dense(2)],
        name="net",
    )


class Subclassed(keras.Model):
    """No graph of Keras's own: the layers are found in attributes, a list among them."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.blocks = [L.Dense(3, activation="tanh", name="block"), L.Dense(3, activation="tanh", name="block")]
        self.head = keras.Sequential([L.Dense(2, name="dense")], name="head")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class TwoArguments(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2, name="dense")

    def call(self, left, right):
        return {"sum": self.dense(left) + right, "left": self.dense(left)}


def points_of(network, inputs):
    """The names that the prepared function marks, in order."""
    _, flat = network.flatten(inputs)
    with jax.enable_x64(any(np.asarray(array).dtype == np.float64 for array in flat)):
        function = network.prepare([jax.ShapeDtypeStruct(np.shape(a), np.asarray(a).dtype) for a in flat])
        jaxpr = jax.make_jaxpr(function)(network.parameters, tuple(map(jnp.asarray, flat)))
    return _names(jaxpr.jaxpr)


def _names(jaxpr):
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "name":
            found.append(equation.params["name"])
        elif equation.primitive.name in ("jit", "pjit"):
            found += _names(equation.params["jaxpr"].jaxpr)
    return found


def test_layers_and_weights_go_by_their_names_in_keras():
    network = keras_network(classifier())
    assert network.name == "net"
    assert network.layer_kinds() == {
        layer.name: type(layer).__name__ for layer in network.model.layers if not isinstance(layer, L.InputLayer)
    }
    assert [name.rpartition("/")[2] for name in network.parameters] == [
        *("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias")
    ]
    assert all(name in [weight.path for weight in network.model.weights] for name in network.parameters)


def test_statistics_and_frozen_layers_are_parameters_but_not_trainable():
    model = classifier()
    model.layers[0].trainable = False
    network = keras_network(model)
    kept = {name.rpartition("/")[2] for name in set(network.parameters) - network.trainable}
    assert kept == {"kernel", "bias", "moving_mean", "moving_variance"}
    assert len(network.trainable) == 4


def test_every_layer_marks_its_output():
    network = keras_network(classifier())
    assert points_of(network, np.ones((2, 3), "float32")) == list(network.layer_kinds())


def test_nested_layers_go_by_their_path_and_repeated_names_are_told_apart():
    model = Subclassed()
    x = np.ones((2, 3), "float32")
    model(x)
    network = keras_network(model)
    assert list(network.layer_kinds()) == ["block", "block~2", "head", "head/dense"]
    assert points_of(network, x) == ["block", "block~2", "head/dense", "head"]


def test_layers_inside_a_composite_layer_are_marked():
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, L.MultiHeadAttention(2, 4, name="attention")(inputs, inputs))
    network = keras_network(model)
    assert network.layer_kinds()["attention/query"] == "EinsumDense"
    marked = points_of(network, np.ones((2, 5, 8), "float32"))
    assert {"attention", "attention/query", "attention/key", "attention/value"} <= set(marked)


def test_what_runs_once_a_time_step_is_no_layer():
    model = chain((4, 3), L.LSTM(2, return_sequences=True, name="lstm"), L.TimeDistributed(L.Dense(2), name="steps"))
    network = keras_network(model)
    assert network.layer_kinds() == {"lstm": "LSTM", "steps": "TimeDistributed"}
    assert points_of(network, np.ones((2, 4, 3), "float32")) == ["lstm", "steps"]


def test_a_layer_that_is_called_twice_is_marked_twice():
    inputs = keras.Input((3,))
    shared = L.Dense(3, name="shared")
    model = keras.Model(inputs, shared(L.Activation("tanh", name="between")(shared(inputs))))
    network = keras_network(model)
    assert points_of(network, np.ones((2, 3), "float32")) == ["shared", "between", "shared"]
    assert len(network.parameters) == 2
    assert_agrees(model, "float64", 1e-12)


def test_several_inputs_go_by_order_or_by_name():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"b": b, "a": a}, {"z": L.Dense(1)(a), "y": L.Concatenate()([a, b])})
    network = keras_network(model)
    ones, twos = np.ones((2, 3), "float32"), np.full((2, 2), 2, "float32")
    names, arrays = network.flatten({"a": ones, "b": twos})
    assert dict(zip(names, (id(array) for array in arrays), strict=True)) == {"a": id(ones), "b": id(twos)}
    in_order = [ones if name == "a" else twos for name in names]
    assert [id(array) for array in network.flatten(tuple(in_order))[1]] == [id(array) for array in in_order]
    values = network.evaluate(arrays)
    assert {n: y.shape for n, y in zip(network.output_names(2), values, strict=True)} == {"z": (2, 1), "y": (2, 5)}
    ours, theirs = both_ways(network, in_order)
    assert relative(ours[1], theirs[1]) < 1e-6


def test_several_outputs_have_their_layers_names():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [L.Dense(1, name="first")(inputs), L.Dense(2, name="second")(inputs)])
    assert keras_network(model).output_names(2) == ("first", "second")
    assert keras_network(classifier()).output_names(1) == ("output",)


def test_a_model_that_was_never_called_is_built_by_the_first_input():
    model = TwoArguments()
    network = keras_network(model)
    left, right = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    names, _ = network.flatten((left, right))
    assert names == ("left", "right")
    assert model.built
    ours, theirs = both_ways(network, [left, right])
    assert relative(ours[1], theirs[1]) < 1e-6
    assert network.output_names(2) == ("sum", "left")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.ones((2, 4), "float32"),
            r"'net' takes 'input_layer.*' \(batch, 3\); the array given .* has shape \(2, 4\)",
        ),
        (np.ones(3, "float32"), "lacks the batch axis"),
        ({"nonsense": np.ones((2, 3), "float32")}, "got a dict with the keys .'nonsense'."),
        ([[1.0, 2.0], [1.0]], "differ in length"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_what_would(x, message):
    with pytest.raises(ShapeError, match=message):
        keras_network(classifier()).flatten(x)


def test_the_wrong_number_of_inputs_is_refused():
    model = keras.Model([a := keras.Input((3,), name="a"), b := keras.Input((3,), name="b")], a + b)
    with pytest.raises(ShapeError, match=r"takes 'a' \(batch, 3\), 'b' \(batch, 3\); got one array"):
        keras_network(model).flatten(np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_the_computation_has_the_dtype_of_the_inputs(dtype):
    network = keras_network(set_weights(classifier()))
    x = inputs_for(network.model, "float64")[0]
    with jax.enable_x64(True):
        exact = network.prepare([jax.ShapeDtypeStruct(x.shape, "float64")])(network.parameters, (jnp.asarray(x),))[0]
        prepared = network.prepare([jax.ShapeDtypeStruct(x.shape, dtype)])
        parameters = {name: value.astype(dtype) for name, value in network.parameters.items()}
        (y,) = prepared(parameters, (jnp.asarray(x, dtype),))
    assert str(y.dtype) == dtype
    coarse = {"float64": 1e-15, "float16": 5e-3, "bfloat16": 5e-2}[dtype]
    assert relative([np.asarray(y, np.float64)], [exact]) < coarse


def test_integer_inputs_are_computed_in_the_parameters_dtype():
    model = chain((4,), L.Embedding(7, 3), L.Flatten(), L.Dense(2), dtype="int32")
    network = keras_network(model)
    tokens = jnp.asarray([[1, 2, 3, 0]], "int32")
    function = network.prepare([jax.ShapeDtypeStruct(tokens.shape, tokens.dtype)])
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            parameters = {name: value.astype(dtype) for name, value in network.parameters.items()}
            assert function(parameters, (tokens,))[0].dtype == dtype
    (to_tokens,), _ = network.pull_back([np.asarray(tokens)], [np.ones((1, 2), "float32")])
    assert not to_tokens.any()


def test_a_mixed_precision_policy_is_kept_for_inputs_of_the_weights_dtype():
    model = chain((3,), L.Dense(4, dtype="mixed_bfloat16"))
    network = keras_network(set_weights(model))
    x = inputs_for(model, "float32")[0]
    function = network.prepare([jax.ShapeDtypeStruct(x.shape, x.dtype)])
    (y,) = function(network.parameters, (jnp.asarray(x),))
    kernel, bias = (np.asarray(p) for p in network.parameters.values())
    assert y.dtype == np.float32
    assert 1e-4 < relative([y], [x @ kernel + bias]) < 2e-2


def test_nothing_of_the_model_changes():
    model = classifier()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    network = keras_network(model)

    def state():
        seeds = [np.asarray(keras.ops.convert_to_numpy(v)).copy() for v in model.non_trainable_variables]
        weights = [np.asarray(keras.ops.convert_to_numpy(w)).copy() for w in model.weights]
        flags = [(x.trainable, x.built, x.dtype_policy.name, str(x.dtype)) for x in model._flatten_layers()]
        dtypes = [str(w.dtype) for w in model.variables] + [str(t.dtype) for t in model.inputs]
        return seeds, weights, flags, dtypes, keras.config.floatx(), keras.backend.result_type("float64", "float32")

    before, call = state(), keras.layers.Layer.__call__
    both_ways(network, inputs_for(model, "float64"))
    after = state()
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all((a == b).all() for a, b in zip(old, new, strict=True))
    assert before[2:] == after[2:]
    assert keras.layers.Layer.__call__ is call
    assert all(not layer.losses for layer in model.layers)


def test_the_model_is_put_back_when_it_fails_on_the_way():
    class Failing(L.Layer):
        def call(self, x):
            if x.dtype != keras.ops.zeros(1, "float32").dtype:
                raise RuntimeError("only float32 here")
            return x

    model = chain((3,), L.Dense(2), Failing(name="failing"))
    network = keras_network(model)
    call = keras.layers.Layer.__call__
    with jax.enable_x64(True), pytest.raises((RuntimeError, NetjacError)) as caught:
        network.prepare([jax.ShapeDtypeStruct((2, 3), "float64")])
    assert "Failing" in str(caught.value)
    assert [layer.dtype_policy.name for layer in model.layers] == ["float32"] * 3
    assert keras.layers.Layer.__call__ is call
    assert keras.config.floatx() == "float32"


def test_weights_and_statistics_are_read_at_every_call():
    model = classifier()
    network = keras_network(model)
    x = np.ones((2, 3), "float32")
    function = network.prepare([jax.ShapeDtypeStruct(x.shape, x.dtype)])
    signature = network.signature()
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 0.5))
    assert network.signature() == signature
    assert np.allclose(function(network.parameters, (jnp.asarray(x),))[0], network.evaluate([x])[0], rtol=1e-6)


def test_the_signature_changes_with_the_structure_and_only_then():
    model = classifier()
    network = keras_network(model)
    seen = [network.signature()]
    assert network.signature() == seen[0]
    model.layers[0].activation = keras.activations.tanh
    seen.append(network.signature())
    model.layers[1].epsilon = 0.1
    seen.append(network.signature())
    model.add(L.Dense(3))
    seen.append(network.signature())
    assert len(set(seen)) == 4
    x = inputs_for(model, "float32")[0]
    assert network.evaluate([x])[0].shape == (3, 3)
    model.pop()
    assert network.evaluate([x])[0].shape == (3, 2)


def test_dropout_is_left_out_of_the_way():
    model = chain((3,), L.Dropout(0.5), L.GaussianNoise(1.0), L.GaussianDropout(0.3))
    network = keras_network(model)
    x = inputs_for(model, "float32")[0]
    assert (network.evaluate([x])[0] == x).all()


class AlwaysDropping(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.drop = L.Dropout(0.5, name="drop")

    def call(self, x):
        return self.drop(x, training=True)


def test_a_layer_that_draws_random_numbers_at_inference_is_named():
    model = chain((3,), L.Dense(2), AlwaysDropping(name="noisy"))
    network = keras_network(model)
    seeds = [np.asarray(keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    with pytest.raises(StochasticNetworkError, match="layer 'noisy/drop' draws random numbers"):
        network.prepare([jax.ShapeDtypeStruct((2, 3), "float32")])
    with pytest.raises(StochasticNetworkError, match="layer 'noisy/drop' draws random numbers"):
        network.evaluate([np.ones((2, 3), "float32")])
    after = [np.asarray(keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    assert all((a == b).all() for a, b in zip(seeds, after, strict=True))


def test_unseeded_random_numbers_are_named_too():
    class Noise(L.Layer):
        def call(self, x):
            return x + keras.random.normal((3,))

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.noise = Noise(name="noise")

        def call(self, x):
            return self.noise(x)

    model = Model()
    model(np.ones((2, 3), "float32"))
    with pytest.raises(StochasticNetworkError, match="layer 'noise' draws random numbers"):
        keras_network(model).prepare([jax.ShapeDtypeStruct((2, 3), "float32")])


def test_batch_statistics_used_on_purpose_are_not_random():
    class Standardised(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm = L.BatchNormalization()

        def build(self, shape):
            self.norm.build(shape)

        def call(self, x):
            return self.norm(x, training=True)

    model = set_weights(chain((3,), L.Dense(4), Standardised()))
    before = [np.asarray(keras.ops.convert_to_numpy(w)).copy() for w in model.weights]
    assert_agrees(model, "float64", 1e-12, batch=5)
    after = [np.asarray(keras.ops.convert_to_numpy(w)) for w in model.weights]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_cotangents_left_out_are_zero():
    model = keras.Model(i := keras.Input((3,)), [L.Dense(2)(i), L.Dense(1)(i)])
    network = keras_network(set_weights(model))
    x = inputs_for(model, "float32")
    shapes = [(3, 2), (3, 1)]
    (alone,), weights = network.pull_back(x, [np.ones(shapes[0], "float32"), None])
    (both,), _ = network.pull_back(x, [np.ones(shapes[0], "float32"), np.zeros(shapes[1], "float32")])
    assert (alone == both).all()
    unused = [name for name in weights if name.startswith(model.layers[2].name) or model.layers[2].name in name]
    assert unused
    assert all(not weights[name].any() for name in unused)


def test_an_unused_input_and_an_integer_output_have_zero_derivatives():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")

    class Best(L.Layer):
        def call(self, x):
            return keras.ops.argmax(x, axis=-1)

    model = keras.Model([a, b], [L.Dense(4)(a), Best()(a), b[:, :1] * 0.0])
    network = keras_network(model)
    x = inputs_for(model, "float32")
    cotangents = [np.ones((3, 4), "float32"), None, None]
    (to_a, to_b), _ = network.pull_back(x, cotangents)
    assert to_a.any()
    assert not to_b.any()


def test_batches_of_every_size_agree():
    model = set_weights(chain((4, 4, 2), L.Conv2D(3, 2, activation="relu"), L.Flatten(), L.Dense(2)))
    for batch in (1, 2, 5):
        assert_agrees(model, "float64", 1e-12, batch=batch)


def test_relu_and_pooling_at_their_kinks_have_the_backends_derivatives():
    inputs = keras.Input((4, 1))
    model = keras.Model(inputs, [L.ReLU()(inputs), L.MaxPooling1D(2)(inputs), L.Activation("relu6")(inputs)])
    network = keras_network(model)
    x = np.array([0.0, 0.0, 6.0, 6.0], "float32").reshape(1, 4, 1)
    ours, theirs = both_ways(network, [x])
    assert (ours[1][0] == theirs[1][0]).all()


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_agrees(set_weights(classifier()), "float32", 1e-6)


def test_a_model_whose_network_was_used_can_be_collected():
    import gc
    import weakref

    from netjac.tracing import meet

    model = classifier()
    meet(model, np.ones((2, 3), "float32"))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_lazy_jacobian_is_of_the_weights_it_was_asked_with_or_refused():
    model = chain((3,), L.Dense(4, "tanh"), L.Dense(2))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    before, lazy = np.array(nj.jacobian(model, x)), nj.jacobian(model, x)
    model.compile("adam", "mse")
    model.fit(x, np.zeros((8, 2)), epochs=2, verbose=0)
    assert np.abs(np.asarray(nj.jacobian(model, x)) - before).max() > 1e-4
    if keras.backend.backend() == "tensorflow":
        np.testing.assert_array_equal(lazy, before)
    else:
        with pytest.raises(nj.ChangedError, match=r"kernel.* was written in place"):
            np.asarray(lazy)
