"""A network of every front end: the layers by their names, the shapes, and numbers equal to the Jacobian's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import netjac as nj
from tests.formula.checks import equal

RNG = np.random.default_rng(8)
layers = keras.layers


def written(F):
    return F.text.rsplit(" = ", 1)[1]


def told(F):
    """(name, rows, columns, layer) of each factor."""
    return [(symbol.text, *symbol.shape, symbol.layer) for symbol in F.symbols]


@pytest.mark.parametrize(
    ("backend", "middle"),
    [("tensorflow", "S₁ φ′₁(z₁) K₁∗"), ("jax", "S₁ φ′₁(z₁) K₁∗"), ("torch", "P₃ S₁ P₂ φ′₁(z₁) P₁ K₁∗")],
)
def test_keras_on_every_backend(backend, middle):
    done = subprocess.run(
        [sys.executable, "-m", "tests.formula.keras_formulas"], cwd=Path(__file__).parents[2], text=True, timeout=600,
        env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["text"] == f"J = ∂output/∂image = (diag(p₁) − p₁p₁ᵀ) W₃ᵀ N₁ (I + φ′₂(z₂) W₂ᵀ) {middle}"
    symbols = found["symbols"]
    assert {name: symbols[name][:3] for name in symbols if not name.startswith("P")} == {
        "K₁∗": [32, 36, "edges"], "φ′₁(z₁)": [32, 32, "edges"], "S₁": [8, 32, "pool"], "W₂ᵀ": [8, 8, "inner"],
        "φ′₂(z₂)": [8, 8, "inner"], "N₁": [8, 8, "norm"], "W₃ᵀ": [3, 8, "scores"],
        "(diag(p₁) − p₁p₁ᵀ)": [3, 3, "scores"],
    }  # fmt: skip
    assert symbols["S₁"][3] == "1/n over each window"
    assert symbols["N₁"][3].startswith("diag(γ) (I − 11ᵀ/n − x̂x̂ᵀ/n)/σ, n = 8")
    assert found["error"] < 1e-5


def test_two_inputs_have_a_formula_each():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    both = layers.Concatenate(name="both")(
        [layers.Dense(2, "tanh", name="one")(a), layers.Dense(3, "tanh", name="two")(b)]
    )
    model = keras.Model([a, b], layers.Dense(2, name="mix")(both))
    x = [RNG.standard_normal((2, 3)).astype("float32"), RNG.standard_normal((2, 2)).astype("float32")]
    found, J = nj.formula(model, x), nj.jacobian(model, x)
    assert {name: written(F) for name, F in found.items()} == {
        "a": "W₃ᵀ P₁ φ′₁(z₁) W₁ᵀ", "b": "W₃ᵀ P₁ φ′₂(z₂) W₂ᵀ",
    }  # fmt: skip
    for name, F in found.items():
        np.testing.assert_allclose(F.evaluate(x), np.asarray(J[name]), atol=1e-6)


@pytest.fixture(scope="module")
def block():
    """A transformer's encoder block."""
    tokens = keras.Input((3, 4), name="tokens")
    h = layers.Add(name="skip")([tokens, layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)])
    h = layers.LayerNormalization(name="norm")(h)
    out = layers.Add(name="out")([h, layers.Dense(4, name="down")(layers.Dense(6, "gelu", name="up")(h))])
    return keras.Model(tokens, out)


def test_a_transformer_block(block):
    F = nj.formula(block)
    start = "(I + (I ⊗ W₆ᵀ) φ′₅(z₅) (I ⊗ W₅ᵀ)) N₁ (I + (I ⊗ W₄ᵀ) P₁ ((∂u₄/∂u"
    assert written(F).startswith(start)
    assert "(diag(p₁) − p₁p₁ᵀ) D₁ (" in written(F)
    assert {symbol.text for symbol in F.symbols} >= {f"(I ⊗ W{n}ᵀ)" for n in "₁₂₃₄₅₆"}
    said = {symbol.text: symbol.definition for symbol in F.symbols}
    assert said["φ′₅(z₅)"] == "diag(Φ(z₅) + z₅ Φ′(z₅)), φ = gelu"
    assert F.derivation[1].explanation == "pull δ back through 'down' and 'up'"
    equal(F, block, RNG.standard_normal((2, 3, 4)).astype("float32"))


def test_torch_recurrent_and_convolutional():
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = torch.nn.LSTM(2, 3, batch_first=True), torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    F = nj.formula(Recurrent(), RNG.standard_normal((2, 3, 2)).astype("float32"))
    assert written(F) == "W₂ P₁ (∂u₁/∂u₂) (I ⊗ W₁)"
    assert told(F)[-1] == ("W₂", 2, 3, "head")
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.SiLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    model.double().eval()
    x = RNG.standard_normal((2, 1, 6, 6))
    F = nj.formula(model, x)
    assert written(F) == "W₂ S₁ φ′₁(z₁) D₁ K₁∗"
    assert told(F)[0] == ("K₁∗", 32, 36, "0")
    assert F.symbols[1].definition == "diag(γ/√(v + ε)), v the variance learned"
    assert F.symbols[2].definition == "diag(σ(z₁) (1 + z₁ (1 − σ(z₁)))), φ = silu"
    equal(F, model, x)


def test_tensorflow_functions_and_modules():
    V, W = (tf.Variable(RNG.standard_normal(shape)) for shape in ((4, 3), (3, 2)))

    @tf.function
    def function(x):
        return tf.nn.softmax(tf.tanh(x @ V) @ W)

    class Module(tf.Module):
        @tf.function
        def __call__(self, x):
            return tf.tanh(x @ V)

    x = RNG.standard_normal((2, 4))
    for model, expected in ((function, "(diag(p₁) − p₁p₁ᵀ) W₂ᵀ φ′₁(z₁) W₁ᵀ"), (Module(), "φ′₁(z₁) W₁ᵀ")):
        F = nj.formula(model, x)
        assert written(F) == expected
        equal(F, model, x)


@pytest.mark.filterwarnings("ignore:.*converge")
def test_scikit_learn():
    X = RNG.standard_normal((40, 4))
    regressor = MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", max_iter=5, random_state=0)
    model = make_pipeline(StandardScaler(), regressor).fit(X, X[:, :2])
    classifier = MLPClassifier(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(X, np.arange(40) % 3)
    F = nj.formula(model, X[:2])
    assert written(F) == "W₂ᵀ φ′₁(z₁) W₁ᵀ D₁"
    assert told(F)[0] == ("D₁", 4, 4, "standardscaler")
    equal(F, model, X[:2])
    F = nj.formula(classifier, X[:2])
    assert written(F) == "(diag(p₁) − p₁p₁ᵀ) W₂ᵀ φ′₁(z₁) W₁ᵀ"
    equal(F, classifier, X[:2])
