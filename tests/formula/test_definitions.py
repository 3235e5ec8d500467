"""What the list below a formula says of each factor: the closed form is the factor, number for number."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import netjac as nj
from netjac.formula.trial import trials
from tests.formula.checks import batched

RNG = np.random.default_rng(4)
GAMMA = RNG.standard_normal(6) + 2


def layer_norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return GAMMA * centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-2) + 1


def rms_norm(x):
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-2) * GAMMA


def group_norm(x):
    parts = x.reshape(-1, 2, 3)
    found = (parts - parts.mean(-1, keepdims=True)) / jnp.sqrt(parts.var(-1, keepdims=True) + 1e-2)
    return found.reshape(x.shape) * GAMMA


def unit(x):
    return GAMMA * x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True))


def closed(x, n, centred, epsilon):
    """(γ/σ) (I − 11ᵀ/n − x̂x̂ᵀ/n) for one vector, in groups of n; without the mean and with Σ in its place for the others."""
    J = np.zeros((len(x), len(x)))
    for start in range(0, len(x), n):
        part = slice(start, start + n)
        h = x[part] - (x[part].mean() if centred else 0)
        sigma = np.sqrt((h @ h) / (1 if epsilon is None else n) + (epsilon or 0))
        hat = h / sigma
        J[part, part] = np.eye(n) - centred * np.ones((n, n)) / n - np.outer(hat, hat) / (1 if epsilon is None else n)
        J[part, part] /= sigma
    return GAMMA[:, None] * J


@pytest.mark.parametrize(
    ("f", "n", "centred", "epsilon", "told"),
    [
        (layer_norm, 6, True, 1e-2, "diag(γ) (I − 11ᵀ/n − x̂x̂ᵀ/n)/σ, n = 6; x̂ = (x − mean x)/σ, σ² = var x + ε"),
        (group_norm, 3, True, 1e-2,
         "diag(γ) (I − 11ᵀ/n − x̂x̂ᵀ/n)/σ for each of 2 groups of n = 3 entries; x̂ = (x − mean x)/σ, σ² = var x + ε"),
        (rms_norm, 6, False, 1e-2, "diag(γ) (I − x̂x̂ᵀ/n)/σ, n = 6; x̂ = x/σ, σ² = mean x² + ε"),
        (unit, 6, False, None, "diag(γ) (I − x̂x̂ᵀ)/σ, n = 6; x̂ = x/σ, σ² = Σx² + ε"),
    ],
)  # fmt: skip
def test_a_normalisation_is_its_closed_form(f, n, centred, epsilon, told):
    x = RNG.standard_normal((2, 6))
    F = nj.formula(batched(f), x)
    (symbol,) = F.symbols
    assert symbol.definition == told
    factors = F.factors(x)[symbol.text]
    for factor, one in zip(factors, x, strict=True):
        np.testing.assert_allclose(factor, closed(one, n, centred, epsilon), atol=1e-9)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * jax.lax.rsqrt(1 + jnp.square(x).sum(-1, keepdims=True) ** 2),
        lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1),
        lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(jax.lax.stop_gradient(x.var(-1, keepdims=True)) + 1e-2),
    ],
)
def test_what_only_looks_like_a_normalisation_has_no_closed_form(f):
    F = nj.formula(batched(f), RNG.standard_normal((1, 6)))
    assert all("x̂" not in symbol.definition for symbol in F.symbols)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (
            keras.layers.LayerNormalization(),
            "for each of 4 groups of n = 4 entries; x̂ = (x − mean x)/σ, σ² = var x + ε",
        ),
        (keras.layers.RMSNormalization(), "for each of 4 groups of n = 4 entries; x̂ = x/σ, σ² = mean x² + ε"),
        (
            keras.layers.GroupNormalization(2),
            "for each of 2 groups of n = 8 entries; x̂ = (x − mean x)/σ, σ² = var x + ε",
        ),
        (keras.layers.UnitNormalization(), "for each of 4 groups of n = 4 entries; x̂ = x/σ, σ² = Σx² + ε"),
        (keras.layers.BatchNormalization(), "diag(γ/√(v + ε)), v the variance learned"),
        (keras.layers.MaxPooling2D(2), "1 at the largest entry of each window"),
        (keras.layers.AveragePooling2D(2), "1/n over each window"),
        (keras.layers.GlobalAveragePooling2D(), "1/n over the entries summed over"),
        (keras.layers.Dense(2), "the layer's weights, at each position"),
    ],
)
def test_keras_layers(layer, told):
    F = nj.formula(keras.Sequential([keras.Input((2, 2, 4)), layer]))
    assert [symbol.definition.endswith(told) for symbol in F.symbols] == [True]


def test_torch_layers():
    nn = torch.nn
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.RMSNorm(4), nn.Tanh())
    told = [symbol.definition for symbol in nj.formula(model, np.ones((1, 4), np.float32)).symbols]
    assert [words[:7] for words in told] == ["the lay", "diag(γ)", "the lay", "diag(γ)", "diag(1 "]
    assert told[-1] == "diag(1 − tanh²(z₂)), φ = tanh"


def test_what_has_no_closed_form_is_said_in_words():
    W = RNG.standard_normal((4, 4))

    def f(x):
        weights = jax.nn.softmax((x @ W) @ jnp.swapaxes(x, 1, 2))
        return jax.lax.scan(lambda c, t: (jnp.tanh(c + t),) * 2, jnp.zeros((1, 4)), jnp.swapaxes(weights @ x, 0, 1))[0]

    told = {symbol.definition for symbol in nj.formula(batched(f), RNG.standard_normal((1, 3, 4))).symbols}
    assert "of a product of two values (as q kᵀ), the other one held" in told
    assert "a loop over time: sums of products of ∂hₜ/∂hₜ₋₁" in told
    assert "p₁ = softmax, for each row of scores" in told


@pytest.mark.parametrize(
    ("f", "told"),
    [
        (jax.nn.gelu, "entry by entry, of gelu (by tanh)"),
        (lambda x: jax.nn.gelu(x, approximate=False), "diag(Φ(z₀) + z₀ Φ′(z₀)), φ = gelu"),
        (lambda x: x / (1 + jnp.exp(-x)), "diag(σ(z₀) (1 + z₀ (1 − σ(z₀)))), φ = silu"),
        (lambda x: jnp.log1p(jnp.exp(x)), "diag(σ(z₀)), φ = softplus"),
        (lambda x: x * jax.nn.sigmoid(1.1 * x), "entry by entry, of mul ∘ logistic"),
        (lambda x: jnp.minimum(jnp.maximum(x, 0), 6), "diag(1 where 0 < z₀ < 6, else 0), φ = relu6"),
        (jnp.sin, "diag(cos(z₀))"),
    ],
)
def test_activations_are_told_by_what_they_compute(f, told):
    assert [symbol.definition for symbol in nj.formula(batched(f), np.ones((1, 5))).symbols] == [told]


def test_activations_written_alike_are_tried_once(monkeypatch):
    from netjac.formula import elementwise

    tried = []
    monkeypatch.setattr(elementwise, "trials", lambda *given: tried.append(given) or trials(*given))
    V, W, U = RNG.standard_normal((5, 7)), RNG.standard_normal((7, 3)), RNG.standard_normal((3, 3))

    def f(x):
        return (lambda z: z * jax.nn.sigmoid(2 * z))(jax.nn.silu(jax.nn.silu(x @ V) @ W) @ U)

    told = [s.definition for s in nj.formula(batched(f), np.ones((1, 5))).symbols if s.kind == "activation"]
    assert [words.endswith("φ = silu") for words in told] == [True, True, False]
    assert len(tried) == 2


def test_an_activation_of_one_unit_is_told_as_surely_as_one_of_many():
    f = batched(lambda x: jnp.where(x > 6, 6, jnp.where(x > 0, x, 0)))
    (symbol,) = nj.formula(f, np.ones((1, 1))).symbols
    assert symbol.definition == "diag(1 where 0 < z₀ < 6, else 0), φ = relu6"


def test_a_gate_on_channels_is_said_in_words():
    gate = batched(lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)))
    told = {symbol.definition for symbol in nj.formula(gate, np.ones((1, 3, 3, 2))).symbols}
    assert "entries repeated, each times another value of the network" in told
