"""The explorer driven in headless Chromium: its numbers are Python's."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import netjac as nj
from netjac.report.explorer import explorer
from netjac.report.explorer.activations import VALUES
from netjac.report.explorer.export import chain_data
from netjac.tracing import meet, widened
from tests.browser import PHONE

HOSTILE = "</script><script>boom()</script>"


def _keras(draw: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.Dense(5, "relu"), keras.layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((4,)), *layers])


def _torch(draw: Any) -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Linear(6, 3))


def _sklearn(draw: Any) -> Any:
    X = 3 + 10 * draw.normal(size=(60, 4))
    fitted = MLPRegressor(hidden_layer_sizes=(6, 5), activation="logistic", max_iter=40, random_state=0, solver="lbfgs")
    return make_pipeline(StandardScaler(), fitted).fit(X, np.stack([X[:, 0], X[:, 1] * X[:, 2], X[:, 3] ** 2], 1))


def _numbers(page: Any, selector: str) -> np.ndarray:
    return np.array(page.eval_on_selector_all(selector, "all => all.map(e => Number(e.dataset.value))"))


@pytest.mark.parametrize("make", [_keras, _torch, _sklearn])
def test_what_the_page_computes_is_what_python_computes(make: Any, browser: Any, tmp_path: Any) -> None:
    draw = np.random.default_rng(0)
    model, X = make(draw), draw.normal(size=(20, 4))
    made = explorer(model, X, feature_names=["a", HOSTILE, "c", "d"], output_names=["p", "q", HOSTILE])
    assert made.kind == "chain", made.reason
    (tmp_path / "page.html").write_text(made.standalone(HOSTILE), encoding="utf-8")
    visit = browser.visit(tmp_path / "page.html", PHONE)
    page = visit.page
    page.select_option("#nx-sample", "2")
    page.select_option("#nx-feature", "1")
    page.focus("#nx-slider")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    moved = X[made.data["rows"][2]].copy()
    moved[1] = float(page.input_value("#nx-exact"))
    assert abs(moved[1] - X[made.data["rows"][2], 1]) > 0.05
    y, J = nj.value_and_jacobian(model, moved[None])
    close = {"rtol": 1e-5, "atol": 1e-7}
    np.testing.assert_allclose(_numbers(page, ".nx-outputs td.nx-n"), np.asarray(y)[0], **close)
    np.testing.assert_allclose(_numbers(page, ".nx-cell").reshape(3, 4), np.asarray(J)[0], **close)
    page.hover('.nx-cell[data-i="2"][data-j="3"]')
    (whole,), (rest,) = _numbers(page, ".nx-whole"), _numbers(page, ".nx-rest")
    shown = _numbers(page, ".nx-paths tbody td.nx-n")
    np.testing.assert_allclose(shown.sum() + rest, whole, **close)
    np.testing.assert_allclose(whole, np.asarray(J)[0, 2, 3], **close)
    page.focus(".nx-steps")
    while page.is_enabled(".nx-next"):
        page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(_numbers(page, ".nx-delta"), np.asarray(J)[0, 2], **close)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert not visit.requests
    assert not visit.complaints


def test_each_step_of_backpropagation_has_the_delta_of_the_textbook(browser: Any, tmp_path: Any) -> None:
    model, x = _keras(None), np.array([0.3, -0.7, 1.1, 0.2])
    W1, b1, W2, b2, W3, b3 = (np.asarray(w, np.float64) for w in model.get_weights())
    h1 = np.tanh(x @ W1 + b1)
    z2 = h1 @ W2 + b2
    e = np.exp(np.maximum(z2, 0) @ W3 + b3)
    p = e / e.sum()
    logits = p[0] * (np.eye(3)[0] - p)
    second = (z2 > 0) * (W3 @ logits)
    first = (1 - h1**2) * (W2 @ second)
    (tmp_path / "page.html").write_text(explorer(model, x[None]).standalone("δ"), encoding="utf-8")
    visit = browser.visit(tmp_path / "page.html")
    for delta in (logits, second, first, W1 @ first):
        np.testing.assert_allclose(_numbers(visit.page, ".nx-delta"), delta, rtol=1e-5, atol=1e-8)
        if visit.page.is_enabled(".nx-next"):
            visit.page.click(".nx-next")
    assert visit.page.inner_text(".nx-formula") == "Step 4 of 4: ∂y0/∂x = W1ᵀ δ1"


# Where frameworks differ at a kink there are both: torch's leaky relu has its slope at 0, JAX's 1; so with ±1 of a hard tanh.
ACTIVATIONS = {
    "linear": lambda x: x * 1.5,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "leaky_relu of torch": torch.nn.LeakyReLU(0.2),
    "elu": lambda x: jax.nn.elu(x, 0.7),
    "selu": jax.nn.selu,
    "gelu": torch.nn.GELU(),
    "gelu_tanh": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "softsign": jax.nn.soft_sign,
    "tanh": jnp.tanh,
    "tanh_shrink": lambda x: x - jnp.tanh(x),
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_tanh of torch": torch.nn.Hardtanh(),
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}
POINTS = np.array([[-1e4, -800.0, -40.0, -8.0, -6.0, -3.0, -2.4, -1.0, -0.3, -1e-9, 0.0, 0.2, 1.0, 1.7, 3.0, 5.9, 6.0, 7.0,
                    30.0, 750.0, 1e4]])  # fmt: skip
IN_PAGE = """cases => cases.map(([layers, x]) => {
  const given = layers.map(l => ({...l, weights: NetjacNetwork.unpack(l.weights), bias: NetjacNetwork.unpack(l.bias)}));
  const run = NetjacNetwork.forward(given, x);
  return {y: Array.from(run.values), J: NetjacNetwork.jacobian(run).map(row => Array.from(row))};
})"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: Any) -> Any:
    """One small network's explorer, for what any page can be asked."""
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    path.write_text(explorer(_keras(None), np.ones((1, 4))).standalone("any"), encoding="utf-8")
    return browser.visit(path).page


def test_every_activation_has_in_the_page_the_value_and_the_derivative_that_netjac_has(page: Any) -> None:
    assert {name.split(" of ")[0] for name in ACTIVATIONS} == set(VALUES)
    cases = []
    for name, function in ACTIVATIONS.items():
        model = function if isinstance(function, torch.nn.Module) else nj.network(function, batched=True)
        layers = chain_data(widened(meet(model, POINTS)))
        assert [layer["activation"] for layer in layers] == [name.split(" of ")[0]]
        cases.append((layers, POINTS[0].tolist()))
    of_jax = {name: f for name, f in ACTIVATIONS.items() if not isinstance(f, torch.nn.Module)}
    y, J = nj.value_and_jacobian(
        nj.network(lambda x: jnp.stack([f(x) for f in of_jax.values()], 1), batched=True), POINTS
    )
    expected = {name: (np.asarray(y)[0, k], np.asarray(J)[0, k]) for k, name in enumerate(of_jax)}
    for name in ACTIVATIONS.keys() - of_jax.keys():
        expected[name] = [np.asarray(found)[0] for found in nj.value_and_jacobian(ACTIVATIONS[name], POINTS)]
    assert expected["leaky_relu"][1][10, 10] == 1
    assert expected["leaky_relu of torch"][1][10, 10] == pytest.approx(0.2)
    for name, found in zip(ACTIVATIONS, page.evaluate(IN_PAGE, cases), strict=True):
        np.testing.assert_allclose(found["y"], expected[name][0], rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(found["J"], expected[name][1], rtol=1e-5, atol=1e-7, err_msg=name)


def test_no_activation_overflows_in_the_page(page: Any) -> None:
    found = page.evaluate("""() => Object.entries(NetjacNetwork.ELEMENTWISE).map(([name, [f, slope]]) =>
        [name, ...[-1e200, -1e3, 1e3, 1e200].flatMap(z => [f(z, 0.5), slope(z, 0.5)]).map(v => Number.isFinite(v))])""")
    assert len(found) == len(VALUES) - 2
    assert [name for name, *finite in found if not all(finite)] == []


def test_a_relu6_is_not_taken_for_a_relu_and_one_that_is_cut_elsewhere_for_nothing() -> None:
    X = np.random.default_rng(0).uniform(-1, 1, (8, 4))
    clipped = explorer(nj.network(lambda x: jnp.clip(x, 0, 100.0), batched=True), X)
    assert clipped.kind == "linear"
    assert re.search("neither affine nor a known activation", clipped.reason)


def test_a_network_that_is_another_only_where_the_slider_ends_is_no_chain() -> None:
    def bent(x: Any) -> Any:
        return jnp.where((x > 2.42) & (x < 2.43), 3 * x, jnp.maximum(x, 0))

    X = np.concatenate([np.full((4, 2), -0.2), np.full((4, 2), 1.9)])
    made = explorer(nj.network(bent, batched=True), X)
    assert made.kind == "linear"
    assert "outputs differ from the network's" in made.reason


@pytest.mark.parametrize(("i", "j"), [(0, 1), (2, 3)])
def test_the_paths_are_the_largest_products_and_with_the_rest_they_make_the_entry(
    i: int, j: int, browser: Any, tmp_path: Any
) -> None:
    model, x = _keras(None), np.array([0.3, -0.7, 1.1, 0.2])
    W1, b1, W2, b2, W3, b3 = (np.asarray(w, np.float64) for w in model.get_weights())
    z1 = x @ W1 + b1
    z2 = np.tanh(z1) @ W2 + b2
    e = np.exp(np.maximum(z2, 0) @ W3 + b3)
    p = e / e.sum()
    soft = np.diag(p) - np.outer(p, p)
    every = {
        (j, a, b, k, i): W1[j, a] * (1 - np.tanh(z1[a]) ** 2) * W2[a, b] * (z2[b] > 0) * W3[b, k] * soft[k, i]
        for a, b, k in product(range(6), range(5), range(3))
    }
    J = np.asarray(nj.jacobian(model, x[None]))[0, i, j]
    assert sum(every.values()) == pytest.approx(J, rel=1e-5)
    names = [*"abcd"], [*"pqr"]
    made = explorer(model, x[None], feature_names=names[0], output_names=names[1])
    (tmp_path / "page.html").write_text(made.standalone("paths"), encoding="utf-8")
    page = browser.visit(tmp_path / "page.html", PHONE).page
    page.hover(f'.nx-cell[data-i="{i}"][data-j="{j}"]')
    units = page.eval_on_selector_all(
        ".nx-paths tbody tr", "all => all.map(e => e.dataset.units.split(' ').map(Number))"
    )
    shown = _numbers(page, ".nx-paths tbody td.nx-n")
    np.testing.assert_allclose(shown, [every[tuple(path)] for path in units], rtol=1e-5)
    largest = sorted(every.values(), key=abs, reverse=True)[: len(units)]
    assert len(units) == 8
    np.testing.assert_allclose(shown, largest, rtol=1e-5)
    (together,), (rest,), (whole,) = (_numbers(page, f".nx-{name}") for name in ("sum", "rest", "whole"))
    np.testing.assert_allclose([together, rest], [shown.sum(), J - shown.sum()], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(whole, J, rtol=1e-5)
    _, a, b, k, _ = units[0]
    told = page.inner_text(".nx-paths tbody th >> nth=0")
    assert told == f"h1[{a}] → h2[{b}] → logit of {names[1][k]}"
    assert page.inner_text(".nx-paths caption") == f"The largest paths from {names[0][j]} to {names[1][i]}"
    assert "p[i] (1 − p[i])" in page.inner_text(".nx-soft")
    box = page.locator(".nx-paths .nx-scroll").bounding_box()
    for cells in ("tbody td.nx-n", "tbody td.nx-share"):
        cell = page.locator(f".nx-paths {cells} >> nth=0").bounding_box()
        assert cell["x"] >= box["x"]
        assert cell["x"] + cell["width"] <= box["x"] + box["width"]


def test_a_network_that_is_no_chain_is_shown_linearised_and_says_so(browser: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(6, 2))
    X = np.random.default_rng(0).normal(size=(3, 1, 5))
    made = explorer(model, X)
    (tmp_path / "page.html").write_text(made.standalone("No chain"), encoding="utf-8")
    visit = browser.visit(tmp_path / "page.html")
    assert made.kind == "linear"
    assert "Linearised" in visit.page.inner_text(".nx-linear")
    visit.page.fill("#nx-exact", "2.5")
    visit.page.press("#nx-exact", "Enter")
    y, J = nj.value_and_jacobian(model, X[:1])
    expected = np.asarray(y)[0] + np.asarray(J)[0, :, 0, 0] * (2.5 - X[0, 0, 0])
    np.testing.assert_allclose(_numbers(visit.page, ".nx-outputs td.nx-n"), expected, rtol=1e-5)


def test_a_network_too_large_for_the_page_is_refused_with_the_reason() -> None:
    made = explorer(torch.nn.Linear(2000, 100), np.zeros((2, 2000)))
    assert made.kind == "none"
    assert "1,500,000 bytes" in made.html
