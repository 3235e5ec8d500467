"""Networks that people use, with random weights, against Keras's own derivatives."""

import keras
import numpy as np
import pytest
from keras_cases import L, assert_agrees, attention, chain, set_weights

import netjac as nj

ARCHITECTURES = {
    "MobileNetV2": lambda: keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10),
    "ResNet50": lambda: keras.applications.ResNet50(input_shape=(64, 64, 3), weights=None, classes=10),
    "LSTM": lambda: set_weights(chain((8, 8), L.LSTM(16, return_sequences=True), L.LSTM(16), L.Dense(4))),
    "GRU": lambda: set_weights(chain((8, 8), L.GRU(16, return_sequences=True), L.GRU(16), L.Dense(4))),
    "MultiHeadAttention": lambda: set_weights(attention()),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_derivatives_agree_in_float64(name):
    assert_agrees(ARCHITECTURES[name](), "float64", 1e-12, batch=1)


def without_kinks(model):
    """The same network with softplus for relu: of some million units a few lie so near relu's kink that two roundings of
    float32 fall on either side of it, and what they pass on then differs wholly. In float64, above, none does."""

    def smooth(layer):
        if isinstance(layer, L.ReLU) or getattr(layer, "activation", None) is keras.activations.relu:
            return L.Activation("softplus", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=smooth)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_jacobian_agrees_with_the_backends_own(name):
    model = without_kinks(ARCHITECTURES[name]())
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    J = nj.jacobian(model, x)
    assert J.batch == 2
    ours, theirs = np.asarray(J), np.asarray(nj.jacobian(model, x, engine="framework"))
    assert ours.dtype == theirs.dtype == np.float32
    assert np.linalg.norm(ours - theirs) <= 5e-6 * np.linalg.norm(theirs)
