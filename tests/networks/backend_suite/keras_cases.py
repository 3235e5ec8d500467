"""Keras models for the checks that run on every backend, and the comparison with Keras's own derivatives."""

import jax
import jax.numpy as jnp
import keras
import numpy as np

from netjac.networks.keras import keras_network

BACKEND = keras.config.backend()
L = keras.layers


def chain(shape, *layers, dtype="float32"):
    inputs = x = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def convolutions_1d():
    return chain(
        (12, 3),
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="tanh"),
        L.SeparableConv1D(4, 3, padding="same"),
        L.DepthwiseConv1D(3, depth_multiplier=2),
        L.MaxPooling1D(2, 1),
        L.AveragePooling1D(3, 2),
        L.Conv1DTranspose(3, 3, strides=2),
        L.UpSampling1D(2),
        L.ZeroPadding1D((1, 2)),
        L.Cropping1D((2, 1)),
        L.GlobalMaxPooling1D(),
    )


def convolutions_2d():
    return chain(
        (8, 9, 4),
        L.ZeroPadding2D(((1, 2), (0, 3))),
        L.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(4, (2, 3), dilation_rate=2, padding="same"),
        L.Conv2D(6, 2, groups=2),
        L.SeparableConv2D(4, 3, padding="same", activation="elu"),
        L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
        L.UpSampling2D((2, 3)),
        L.MaxPooling2D(3, 2, padding="same"),
        L.Conv2DTranspose(4, 3, strides=2, padding="same"),
        L.AveragePooling2D(3, 2),
        L.Cropping2D(((1, 0), (0, 1))),
        L.GlobalAveragePooling2D(),
    )


def convolutions_3d():
    return chain(
        (4, 5, 4, 2),
        L.Conv3D(3, 2, padding="same", activation="tanh"),
        L.ZeroPadding3D(1),
        L.Conv3D(4, (2, 3, 2), strides=2),
        L.Conv3DTranspose(2, 2, strides=2),
        L.UpSampling3D(2),
        L.Cropping3D(1),
    )


def pooling_3d():
    return chain((4, 6, 4, 2), L.MaxPooling3D(2, 1), L.AveragePooling3D(2, 2, padding="same"))


def normalisations():
    return chain(
        (4, 5, 6),
        L.BatchNormalization(),
        L.LayerNormalization(axis=(2, 3)),
        L.GroupNormalization(3),
        L.RMSNormalization(),
        L.SpectralNormalization(L.Conv2D(4, 3)),
        L.UnitNormalization(),
    )


def activations():
    names = (
        "celu elu exponential glu hard_shrink hard_silu hard_tanh linear log_sigmoid log_softmax mish relu "
        "relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparsemax squareplus tanh tanh_shrink"
    )
    inputs = keras.Input((6,))
    branches = [L.Activation(name)(inputs) for name in names.split()]
    layers = (L.PReLU(), L.ReLU(max_value=1.0, negative_slope=0.25, threshold=0.125), L.ELU(0.5), L.Softmax())
    return keras.Model(inputs, L.Concatenate()(branches + [layer(inputs) for layer in layers]))


def lstm():
    return chain((5, 3), L.LSTM(4, return_sequences=True), L.LSTM(3, go_backwards=True))


def gru():
    return chain((5, 3), L.GRU(4, return_sequences=True), L.GRU(3, reset_after=False))


def other_recurrent():
    return chain(
        (5, 3),
        L.Bidirectional(L.LSTM(4, return_sequences=True)),
        L.TimeDistributed(L.Dense(4, activation="tanh")),
        L.SimpleRNN(3, return_sequences=True),
        L.RNN([L.GRUCell(3), L.LSTMCell(2)]),
    )


def convolutional_lstm():
    return chain((3, 6, 5, 2), L.ConvLSTM2D(2, 3, return_sequences=True), L.GlobalAveragePooling3D())


def attention():
    inputs = keras.Input((6, 8))
    h = inputs + L.MultiHeadAttention(2, 4)(inputs, inputs, use_causal_mask=True)
    h = L.LayerNormalization()(h)
    h = L.LayerNormalization()(h + L.Dense(8)(L.Dense(16, activation="silu")(h)))
    h = L.Attention()([h, h]) + L.AdditiveAttention()([h, h])
    return keras.Model(inputs, h + L.GroupQueryAttention(4, 4, 2)(h, h))


def merging():
    a, b = keras.Input((3, 4), name="a"), keras.Input((3, 4), name="b")
    merged = [kind()([a, b]) for kind in (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum)]
    return keras.Model([a, b], [L.Concatenate(axis=1)(merged), L.Dot(axes=2, normalize=True)([a, b])])


def shapes():
    return chain(
        (4, 6),
        L.Reshape((3, 2, 4)),
        L.Permute((3, 1, 2)),
        L.CenterCrop(3, 2),
        L.EinsumDense("abcd,de->abce", (3, 2, 5)),
        L.Normalization(axis=-1, mean=[0.5, -0.25, 0.0, 1.0, 2.0], variance=[2.0, 0.5, 1.0, 4.0, 0.25]),
        L.Rescaling(1 / 256.0, offset=-1.0),
        L.Flatten(),
        L.RepeatVector(2),
    )


EXACT = {
    build.__name__: build
    for build in (
        convolutions_1d,
        convolutions_2d,
        convolutions_3d,
        normalisations,
        activations,
        lstm,
        gru,
        other_recurrent,
        convolutional_lstm,
        attention,
        merging,
        shapes,
    )
}
"""Computed on each backend as exactly as the dtype allows, and alike."""


def rounded_by_the_framework():
    """TensorFlow and torch keep some constants in float32 whatever the dtype is; TensorFlow resizes images in it."""
    return chain(
        (6, 6, 2),
        L.Rescaling(1 / 255.0),
        L.UpSampling2D(2, interpolation="bilinear"),
        L.Resizing(7, 7, interpolation="bicubic"),
        L.Activation("gelu"),
        L.Activation("hard_sigmoid"),
        L.LeakyReLU(0.3),
        L.AveragePooling2D(3, 2, padding="same"),
    )


def set_weights(model, seed=0):
    """Weights that are the same on every backend; scales and variances around 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        near_one = any(word in weight.path for word in ("variance", "gamma", "scale"))
        values = rng.uniform(0.5, 1.5, weight.shape) if near_one else rng.normal(size=weight.shape) * 0.3
        weight.assign(values)
    return model


def inputs_for(model, dtype, batch=3, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(batch, *tensor.shape[1:])).astype(dtype) for tensor in model.inputs]


def relative(ours, theirs):
    """The error of a list of arrays relative to their norm as a whole."""
    ours, theirs = ([np.asarray(a, np.float64).ravel() for a in side] for side in (ours, theirs))
    difference = np.linalg.norm(np.concatenate([a - b for a, b in zip(ours, theirs, strict=True)]))
    return difference / max(np.linalg.norm(np.concatenate(theirs)), 1e-30)


def both_ways(network, inputs, seed=2):
    """(outputs, cotangents on inputs, cotangents on parameters), by the prepared function and by the framework."""
    wide = any(array.dtype == np.float64 for array in inputs)
    with jax.enable_x64(wide):
        _, flat = network.flatten(inputs if len(inputs) > 1 else inputs[0])
        dtype = str(np.result_type(*[a.dtype for a in inputs if a.dtype.kind == "f"] or ["float32"]))
        function = network.prepare([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in flat])
        parameters = {n: p.astype(dtype) if p.dtype.kind == "f" else p for n, p in network.parameters.items()}
        moving = [i for i, array in enumerate(flat) if array.dtype.kind == "f"]

        def of(parameters, moved):
            full = [jnp.asarray(array) for array in flat]
            for i, array in zip(moving, moved, strict=True):
                full[i] = array
            return function(parameters, tuple(full))

        trained = {name: parameters[name] for name in parameters if name in network.trainable}
        outputs, pull = jax.vjp(
            jax.jit(lambda t, m: of({**parameters, **t}, m)), trained, [jnp.asarray(flat[i]) for i in moving]
        )
        rng = np.random.default_rng(seed)
        seeds = [rng.normal(size=y.shape).astype(y.dtype) for y in outputs]
        to_parameters, to_inputs = pull(tuple(map(jnp.asarray, seeds)))
        ours = ([*outputs], to_inputs, [to_parameters[name] for name in trained])
        values = network.evaluate(flat)
        pulled_inputs, pulled_parameters = network.pull_back(flat, seeds)
        theirs = (list(values), [pulled_inputs[i] for i in moving], [pulled_parameters[name] for name in trained])
        assert set(pulled_parameters) == set(network.trainable)
        for array in [*outputs, *values, *theirs[1], *theirs[2]]:
            assert str(array.dtype) == dtype
        return [[list(map(np.asarray, part)) for part in side] for side in (ours, theirs)]


def assert_agrees(model, dtype, tolerance, batch=3, inputs=None):
    """The prepared function has Keras's own values and pull-backs; returns its own."""
    network = keras_network(model)
    ours, theirs = both_ways(network, inputs or inputs_for(model, dtype, batch))
    for what, our, their in zip(("outputs", "input cotangents", "parameter cotangents"), ours, theirs, strict=True):
        if their:
            error = relative(our, their)
            assert error <= tolerance, f"{what} differ from Keras's own by {error:.1e}"
    return ours
