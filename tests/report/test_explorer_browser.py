"""The explorer driven in headless Chromium: its numbers are Python's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import netjac as nj
from netjac.report.explorer import explorer
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
    for delta in (logits, logits, second, first, W1 @ first):
        np.testing.assert_allclose(_numbers(visit.page, ".nx-delta"), delta, rtol=1e-5, atol=1e-8)
        if visit.page.is_enabled(".nx-next"):
            visit.page.click(".nx-next")


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
