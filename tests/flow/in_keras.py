"""`python -m tests.flow.in_keras OUT.npz`: one network's flow, and a training with a callback and without, on this backend."""

from __future__ import annotations

import sys

import keras
import numpy as np

import netjac as nj
from tests.flow.known import SIZES, WEIGHTS, X

ACTIVATIONS = ("tanh", "relu", None)
rng = np.random.default_rng(1)
IMAGES = rng.standard_normal((48, 6)).astype("float32")
LABELS = rng.integers(0, 3, 48)


def known():
    """The dense network that torch and JAX have too."""
    keras.config.set_floatx("float64")
    layers = [keras.layers.Dense(n, activation=a) for n, a in zip(SIZES[1:], ACTIVATIONS, strict=True)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.set_weights([part for pair in WEIGHTS for part in pair])
    keras.config.set_floatx("float32")
    return model


def fitted(callbacks):
    """Everything that a training leaves behind, random state and moving statistics among it, after two fits."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.BatchNormalization(),
            *(
                keras.layers.Dense(12, "tanh", kernel_initializer=keras.initializers.RandomNormal(stddev=0.5 / 12**0.5))
                for _ in range(6)
            ),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(2):
        model.fit(IMAGES, LABELS, batch_size=8, epochs=1, verbose=0, callbacks=callbacks)
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]


def main(path):
    flow = nj.gradient_flow(known(), X)
    found = {f"own{n}": layer.own.singular_values for n, layer in enumerate(flow.layers)}
    found |= {f"through{n}": layer.through.singular_values for n, layer in enumerate(flow.layers)}
    found |= {"whole": flow.whole.singular_values, "dead": flow.layers[1].dead, "saturated": flow.layers[0].saturated}
    callback = nj.flow_callback(IMAGES, every=4)
    found |= {f"with{n}": value for n, value in enumerate(fitted([callback]))}
    found |= {f"without{n}": value for n, value in enumerate(fitted([]))}
    records = callback.history.records
    found |= {
        "steps": [r.step for r in records],
        "rms": callback.history.grid("rms"),
        "whole rms": [r.whole for r in records],
    }
    np.savez(path, verdicts=[r.verdict for r in records], layers=callback.history.layers, **found)


if __name__ == "__main__":
    main(sys.argv[1])
