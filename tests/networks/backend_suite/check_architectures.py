"""Networks that people use, with random weights, against Keras's own derivatives."""

import keras
import pytest
from keras_cases import L, assert_agrees, chain, set_weights

ARCHITECTURES = {
    "MobileNetV2": lambda: keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10),
    "ResNet50": lambda: keras.applications.ResNet50(input_shape=(64, 64, 3), weights=None, classes=10),
    "LSTM": lambda: set_weights(chain((8, 8), L.LSTM(16, return_sequences=True), L.LSTM(16), L.Dense(4))),
    "GRU": lambda: set_weights(chain((8, 8), L.GRU(16, return_sequences=True), L.GRU(16), L.Dense(4))),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_derivatives_agree_in_float64(name):
    assert_agrees(ARCHITECTURES[name](), "float64", 1e-12, batch=1)
