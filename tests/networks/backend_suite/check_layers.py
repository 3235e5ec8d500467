"""All of Keras's common layers, against the backend's own derivatives. Results are kept to be compared between backends."""

import os

import numpy as np
import pytest
from keras_cases import BACKEND, EXACT, L, assert_agrees, chain, pooling_3d, rounded_by_the_framework, set_weights

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


@pytest.fixture(scope="module")
def results():
    kept = {}
    yield kept
    if "NETJAC_RESULTS" in os.environ:
        np.savez(os.environ["NETJAC_RESULTS"], **kept)


def keep(results, name, parts):
    for kind, arrays in zip(("outputs", "inputs", "parameters"), parts, strict=True):
        for i, array in enumerate(arrays):
            results[f"{name}/{kind}/{i}"] = array


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values_and_derivatives_are_those_of_the_backend(name, dtype, results):
    ours = assert_agrees(set_weights(EXACT[name]()), dtype, TOLERANCE[dtype])
    keep(results, f"{dtype}/{name}", ours)


def test_three_dimensional_pooling_agrees(results):
    ours = assert_agrees(pooling_3d(), "float32", 1e-6)
    keep(results, "float32/pooling_3d", ours)


def test_layers_whose_constants_are_rounded_agree():
    tolerance = 1e-12 if BACKEND == "jax" else 1e-6
    assert_agrees(rounded_by_the_framework(), "float64", tolerance)


def test_tokens_with_a_padding_mask_agree(results):
    model = chain(
        (6,),
        L.Embedding(10, 4, mask_zero=True),
        L.Bidirectional(L.LSTM(3, return_sequences=True)),
        L.GRU(3),
        dtype="int32",
    )
    tokens = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 0, 0]], "int32")
    ours = assert_agrees(set_weights(model), "float32", 1e-6, inputs=[tokens])
    keep(results, "float32/masked", ours)
