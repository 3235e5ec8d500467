"""Two networks with weights that every home of theirs shares, and their Jacobians in Keras on the backend of this process.

`python -m tests.networks.known_networks FILE` writes the Jacobians, by netjac and by the backend's own autodiff.
"""

from __future__ import annotations

import os
import sys

import numpy as np

DTYPES = ("float32", "float64")
NAMES = ("dense", "conv")
RNG = np.random.default_rng(2026)
DENSE = [
    (RNG.standard_normal((5, 10)), RNG.standard_normal(10)),
    (RNG.standard_normal((10, 2)), RNG.standard_normal(2)),
]
CONV = [
    (RNG.standard_normal((3, 3, 1, 32)) / 3, RNG.standard_normal(32) / 10),
    (RNG.standard_normal((13 * 13 * 32, 10)) / 70, RNG.standard_normal(10) / 10),
]
INPUTS = {"dense": RNG.standard_normal((3, 5)), "conv": RNG.standard_normal((2, 28, 28, 1))}


def in_keras(name: str, dtype: str):
    """5-10-2 with tanh, or Conv(32)-MaxPool-Flatten-Dense(10)."""
    import keras

    layers = keras.layers
    if name == "dense":
        body, weights = [layers.Dense(10, activation="tanh", dtype=dtype), layers.Dense(2, dtype=dtype)], DENSE
    else:
        convolution = layers.Conv2D(32, 3, activation="relu", dtype=dtype)
        pooling = layers.MaxPooling2D(2, dtype=dtype)
        body = [convolution, pooling, layers.Flatten(dtype=dtype), layers.Dense(10, dtype=dtype)]
        weights = CONV
    model = keras.Sequential([keras.Input(INPUTS[name].shape[1:], dtype=dtype), *body])
    model.set_weights([array for pair in weights for array in pair])
    return model


def main(path: str) -> None:
    import netjac as nj

    found = {}
    for name in NAMES:
        for dtype in DTYPES:
            model, x = in_keras(name, dtype), INPUTS[name].astype(dtype)
            found[f"{dtype}/{name}/netjac"] = np.asarray(nj.jacobian(model, x))
            found[f"{dtype}/{name}/netjac, one sample"] = np.asarray(nj.jacobian(model, x[:1]))
            found[f"{dtype}/{name}/framework"] = np.asarray(nj.jacobian(model, x, engine="framework"))
    np.savez(path, **found)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(sys.argv[1])
