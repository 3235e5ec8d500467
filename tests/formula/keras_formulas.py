"""Formulas of one Keras network, as JSON on stdout: run in a process of its own for each of Keras' backends."""

from __future__ import annotations

import json

import keras
import numpy as np

import netjac as nj

layers = keras.layers


def network():
    """A convolution, a residual block, a normalisation, a softmax."""
    image = keras.Input((6, 6, 1), name="image")
    h = layers.Conv2D(2, 3, activation="relu", name="edges")(image)
    h = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="pool")(h))
    h = layers.LayerNormalization(name="norm")(layers.Add(name="skip")([h, layers.Dense(8, "tanh", name="inner")(h)]))
    return keras.Model(image, layers.Dense(3, "softmax", name="scores")(h))


def main() -> None:
    keras.utils.set_random_seed(0)
    model = network()
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 1)).astype("float32")
    F = nj.formula(model)
    J = np.asarray(nj.jacobian(model, x))
    told = {s.text: [*s.shape, s.layer, s.definition] for s in F.symbols}
    found = {"text": F.text, "symbols": told, "error": float(np.abs(F.evaluate(x) - J).max() / np.abs(J).max())}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
