"""The formula: what it says for textbook networks, and its numbers, in small networks and in large."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from latex2mathml.converter import convert
from sympy import ImmutableMatrix, MatrixSymbol

import netjac as nj
from netjac.cli import main
from tests.formula.checks import batched, equal
from tests.test_random_networks import Maker

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.standard_normal(shape)


W1, W2, SQUARE = weights(4, 3), weights(3, 2), weights(4, 4)
X = weights(2, 4)


def mlp(x):
    return jnp.tanh(jnp.tanh(x @ W1) @ W2)


def residual(x):
    return x + jnp.tanh(x @ SQUARE)


def head(x):
    return jax.nn.softmax(jnp.tanh(x @ W1) @ W2)


def knot(x):
    """a → b, a → c, b → c, b → d, c → d: not series-parallel."""
    a = jnp.tanh(x @ SQUARE)
    b = jnp.sin(a @ SQUARE)
    c = jnp.cos((a + b) @ SQUARE)
    return jnp.exp(0.1 * (b * c @ SQUARE)) + c


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (mlp, "φ′₂(z₂) W₂ᵀ φ′₁(z₁) W₁ᵀ"),
        (residual, "I + φ′₁(z₁) W₁ᵀ"),
        (head, "(diag(p₁) − p₁p₁ᵀ) W₂ᵀ φ′₁(z₁) W₁ᵀ"),
    ],
)
def test_textbook_networks_have_textbook_formulas(f, expected):
    F = nj.formula(batched(f), X)
    assert F.text.rsplit(" = ", 1)[1] == expected
    equal(F, batched(f), X)


def test_a_graph_that_is_not_series_parallel_has_named_jacobians():
    F = nj.formula(batched(knot), X)
    assert "J₁ = " in F.text
    equal(F, batched(knot), X)


def test_a_softmax_is_named_so_where_it_is_one():
    F = nj.formula(batched(lambda x: jax.nn.softmax(jnp.tanh(x @ W1) / 7)), X)
    assert [s.kind for s in F.symbols] == ["weight", "activation", "softmax"]
    name = next(s.text for s in F.symbols if s.kind == "softmax")
    p = np.array(jax.nn.softmax(np.tanh(X @ W1) / 7))
    expected = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    np.testing.assert_allclose(F.factors(X)[name], expected, atol=1e-7)
    other = nj.formula(batched(lambda x: x / jnp.exp(x).sum(-1, keepdims=True)), X)
    assert "diag(p" not in other.text


def test_a_normalisation_is_diagonal_plus_rank_two():
    F = nj.formula(batched(Maker(0).norm()), X)
    assert [s.kind for s in F.symbols] == ["norm"]
    low = Maker(0).norm()
    N = F.factors(X)["N₁"][0]
    centred = X[0] - X[0].mean()
    scale = np.asarray(low(X[:1]))[0] / centred
    assert np.linalg.matrix_rank(N - np.diag(scale), tol=1e-6) == 2


def test_samples_that_mix_are_taken_together():
    model = batched(lambda x: jnp.tanh(x - x.mean(0)) @ W1)
    equal(nj.formula(model, X), model, X)


@pytest.fixture(scope="module")
def image_net():
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3, activation="relu", name="edges"), layers.MaxPooling2D(2, name="pool"),
         layers.Flatten(name="flat"), layers.Dense(3, activation="softmax", name="scores")]
    )  # fmt: skip


def test_a_keras_network_needs_no_example(image_net):
    F = nj.formula(image_net)
    assert F.text.endswith("= (diag(p₁) − p₁p₁ᵀ) W₂ᵀ S₁ φ′₁(z₁) K₁∗")
    assert {s.layer for s in F.symbols} >= {"edges", "pool", "scores"}
    equal(F, image_net, RNG.standard_normal((2, 6, 6, 1)).astype("float32"))


def test_keras_recurrent_and_normalised():
    layers = keras.layers
    model = keras.Sequential([keras.Input((3, 2)), layers.LSTM(3), layers.LayerNormalization(), layers.Dense(2)])
    F = nj.formula(model)
    assert {"norm", "weight"} <= {s.kind for s in F.symbols}
    equal(F, model, RNG.standard_normal((2, 3, 2)).astype("float32"))


def test_torch():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU(), torch.nn.Linear(3, 2)).double()
    F = nj.formula(model, X)
    assert F.text.rsplit(" = ", 1)[1] == "W₂ φ′₁(z₁) W₁"
    equal(F, model, X)
    with pytest.raises(nj.ShapeError, match="give an example"):
        nj.formula(torch.nn.Linear(2, 2))


def test_names_from_the_model_are_escaped():
    shown = nj.formula(batched(lambda x: nj.mark(jnp.tanh(x @ W1), "<script>")), X)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_weights_jacobian_is_an_outer_product():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2, "tanh")])
    x = np.random.default_rng(3).standard_normal((2, 3))
    first, _, second, _ = nj.formula(model, x, wrt="parameters").values()
    assert first.text.endswith("= φ′₂(z₂) W₂ᵀ φ′₁(z₁) (h₀ᵀ ⊗ I)")
    assert second.text.endswith("= φ′₂(z₂) (h₁ᵀ ⊗ I)")
    assert first.derivation[-1].text == "δ₀ = (h₀ ⊗ I) δ₁"
    np.testing.assert_allclose(first.factors(x)["(h₀ᵀ ⊗ I)"][1], np.kron(x[1], np.eye(4)), atol=1e-13)


def test_a_weight_used_twice_has_one_name_only_where_it_is_one_matrix():
    def f(x):
        twice = jnp.tanh(jnp.tanh(x @ SQUARE) @ SQUARE)
        return jnp.stack([twice, x], 1) @ SQUARE

    F = nj.formula(batched(f), X)
    assert {s.text for s in F.symbols if s.kind == "weight"} == {"W₁ᵀ", "(I ⊗ W₁bᵀ)"}
    equal(F, batched(f), X)


def test_parameters_and_layers(image_net):
    x = RNG.standard_normal((2, 6, 6, 1)).astype("float32")
    found = nj.formula(image_net, x, wrt="parameters")
    J = nj.jacobian(image_net, x, wrt="parameters")
    assert found.keys() == J.keys()
    for name, F in found.items():
        np.testing.assert_allclose(F.evaluate(x), np.asarray(J[name]), atol=1e-5)
    equal(nj.formula(image_net, x, of="flat", wrt="edges"), image_net, x, of="flat", wrt="edges")


def test_backpropagation_ends_at_the_transposed_jacobian():
    F = nj.formula(batched(mlp), X)
    told = [step.text for step in F.derivation]
    assert told == ["δ₃ = I", "δ₂ = φ′₂(z₂) δ₃", "δ₁ = φ′₁(z₁) W₂ δ₂", "δ₀ = W₁ δ₁"]
    deltas = F.backpropagation(X)
    np.testing.assert_allclose(deltas["δ₀"].swapaxes(1, 2), np.asarray(nj.jacobian(batched(mlp), X)), atol=1e-13)
    z = np.tanh(X @ W1) @ W2
    np.testing.assert_allclose(deltas["δ₂"], np.stack([np.diag(1 - np.tanh(row) ** 2) for row in z]), atol=1e-13)
    assert all(convert(step.latex) for step in F.derivation)


def test_sympy_has_the_shapes_and_the_entries():
    F = nj.formula(batched(residual), X)
    assert F.sympy().shape == (4, 4)
    factors = F.factors(X[:1])
    numbers = {}
    for s in F.sympy().atoms(MatrixSymbol):
        numbers.update({s[i, j]: factors[s.name][0, i, j] for i in range(s.rows) for j in range(s.cols)})
    entries = np.array(F.sympy(entries=True).subs(numbers).tolist(), float)
    np.testing.assert_allclose(entries, F.evaluate(X[:1])[0], atol=1e-12)


def test_sympy_refuses_to_write_out_what_is_too_large():
    W = weights(80, 80)
    with pytest.raises(nj.TooLargeError, match="6400 entries"):
        nj.formula(batched(lambda x: x @ W), weights(1, 80)).sympy(entries=True)


def test_another_shape_is_refused_and_zero_is_zero():
    F = nj.formula(batched(lambda x: jnp.tanh(x * 2)), X)
    with pytest.raises(nj.ShapeError, match="another shape"):
        F.evaluate(weights(2, 5))
    constant = batched(lambda x: jnp.round(x))
    F = nj.formula(constant, X)
    assert F.text.endswith("= 0")
    equal(F, constant, X)


def test_the_command_prints_and_saves(image_net, tmp_path, capsys):
    image_net.save(tmp_path / "m.keras")
    assert main(["formula", str(tmp_path / "m.keras"), "-o", str(tmp_path / "f.tex"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "K₁∗" in told["formulas"]["jacobian"]["text"]
    assert r"K_{1}{\ast}" in (tmp_path / "f.tex").read_text()
    assert main(["formula", str(tmp_path / "m.keras"), "--derivation"]) == 0
    assert "δ₀ = " in capsys.readouterr().out


def test_an_example_without_samples_is_refused():
    with pytest.raises(nj.ShapeError, match="no samples"):
        nj.formula(nj.network(lambda x: x * 2, batched=True), np.ones((0, 3)))


def test_an_activation_with_a_derivative_of_its_own_is_called_by_its_name():
    (symbol,) = nj.formula(nj.network(jax.nn.relu, batched=True), np.ones((1, 3))).symbols
    assert symbol.meaning == "relu"


@pytest.fixture(scope="module")
def large():
    """A network whose factors take 5 GiB and 320 GiB a sample, written out, and its Jacobian 512 KiB."""
    K, head = (weights(3, 3, 1, 8) / 3).astype("float32"), weights(8, 2).astype("float32")
    shape = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def f(x):
        h = nj.mark(jax.nn.relu(jax.lax.conv_general_dilated(x, K, **shape)), "edges")
        return h.mean((1, 2)) @ head

    model = batched(f)
    x = RNG.standard_normal((1, 192, 192, 1)).astype("float32")
    return model, x, nj.formula(model, x)


def test_a_large_convolutional_network_is_evaluated_without_a_dense_factor(large):
    model, x, F = large
    J = np.asarray(nj.jacobian(model, x))
    np.testing.assert_allclose(F.evaluate(x, memory="64MiB"), J, atol=1e-6 * np.abs(J).max())


def test_factors_too_large_are_refused_by_name(large):
    _, x, F = large
    with pytest.raises(nj.TooLargeError, match=r"φ′₁\(z₁\) of layer 'edges' \(294912 × 294912\) with 324 GiB.*names="):
        F.factors(x, memory="16GiB")
    with pytest.raises(nj.TooLargeError, match="over the memory budget"):
        F.factors(x, memory="1GiB")
    found = F.factors(x, names=["W₂ᵀ"], memory="1MiB")
    assert {name: factor.shape for name, factor in found.items()} == {"W₂ᵀ": (1, 2, 8)}
    with pytest.raises(nj.UnknownNameError, match=r"no factor is called 'W₃ᵀ'.*'W₂ᵀ'"):
        F.factors(x, names=["W₃ᵀ"])


def test_results_too_large_are_refused(large):
    _, x, F = large
    with pytest.raises(nj.TooLargeError, match="the Jacobian takes 288 KiB, over the memory budget of 100 KiB"):
        F.evaluate(x, memory="100KiB")
    with pytest.raises(nj.TooLargeError, match=r"at K₁∗ of layer 'edges'.*`nj.jacobian"):
        F.evaluate(x, memory="300KiB")
    with pytest.raises(nj.TooLargeError, match="the largest is δ"):
        F.backpropagation(x, memory="100KiB")


def test_a_reshape_between_shapes_that_share_no_factor_is_no_factor():
    V, W = weights(4, 3), weights(2, 2)
    model = batched(lambda x: jnp.tanh(jnp.tanh(x[:, :, None] * V).reshape(-1, 6, 2)) @ W)
    equal(nj.formula(model, X), model, X)


def test_the_factors_multiply_to_the_jacobian_as_the_formula_says():
    for f in (mlp, residual, head, knot):
        F = nj.formula(batched(f), X)
        factors, written = F.factors(X), F.sympy()
        numbers = {symbol: ImmutableMatrix(factors[symbol.name][0]) for symbol in written.atoms(MatrixSymbol)}
        product = np.array(written.xreplace(numbers).doit().as_explicit().tolist(), float)
        np.testing.assert_allclose(product, F.evaluate(X)[0], atol=1e-12)


def test_a_kernel_of_more_axes_is_the_matrix_that_it_is_at_each_position():
    split, join = weights(4, 2, 3), weights(2, 3, 5)
    x = weights(1, 3, 4)
    F = nj.formula(batched(lambda x: jnp.einsum("bthd,hdo->bto", jnp.einsum("bti,ihd->bthd", x, split), join)), x)
    assert F.text.endswith("= (I ⊗ W₂ᵀ) (I ⊗ W₁ᵀ)")
    factors = F.factors(x)
    np.testing.assert_allclose(factors["(I ⊗ W₁ᵀ)"][0], np.kron(np.eye(3), split.reshape(4, 6).T), atol=1e-13)
    np.testing.assert_allclose(factors["(I ⊗ W₂ᵀ)"][0], np.kron(np.eye(3), join.reshape(6, 5).T), atol=1e-13)
    own = weights(3, 5, 4)
    assert nj.formula(batched(lambda x: jnp.einsum("bti,toi->bto", x, own)), x).text.count("W̃₁") == 1
