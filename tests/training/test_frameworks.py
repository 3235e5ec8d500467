"""Models that people bring: fitted, written back, and asked again in their own framework."""

from __future__ import annotations

import copy

import jax
import keras
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import netjac as nj
from tests.training.models import drawn, mlp, waves

ROUNDED = 1e-3
"""Two ways to compute a loss in float32: a last layer at its optimum has weights of some hundreds, and residuals of 0.03."""


def torch_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def keras_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(8, "tanh", name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(8, "tanh", trainable=False, name="frozen"),
            keras.layers.Dense(2, name="last"),
        ]
    )


def test_torch_has_the_fits_loss_once_its_parameters_are_applied():
    X, Y = waves(100, "float32")
    module = torch_net()
    module[2].weight.requires_grad_(False)
    module.train()
    before = copy.deepcopy(module.state_dict())
    found = nj.fit(module, torch.from_numpy(X), torch.from_numpy(Y), max_iterations=40)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert found.loss < 0.1 * found.initial_loss
    assert found.apply_to(module) is module
    assert module.training
    with torch.no_grad():
        loss = nn.functional.mse_loss(module(torch.from_numpy(X)), torch.from_numpy(Y)).item()
    assert loss == pytest.approx(found.loss, rel=ROUNDED)
    assert torch.equal(module[2].weight, before["2.weight"])
    assert not torch.equal(module[0].weight, before["0.weight"])
    assert set(found.parameters) == {n for n, p in module.named_parameters() if p.requires_grad}


def test_keras_has_the_fits_loss_and_what_is_frozen_stays():
    X, Y = waves(100, "float32")
    model = keras_net()
    before = {weight.path: np.asarray(weight) for weight in model.weights}
    found = nj.fit(model, X, Y, max_iterations=40)
    assert all(np.array_equal(weight, before[weight.path]) for weight in model.weights)
    found.apply_to(model)
    loss = np.mean((np.asarray(model.predict(X, verbose=0)) - Y) ** 2)
    assert loss == pytest.approx(found.loss, rel=ROUNDED)
    assert found.loss < 0.2 * found.initial_loss
    moved = {w.path for w in model.weights if not np.array_equal(w, before[w.path])}
    assert moved == {w.path for w in model.trainable_weights}
    assert not any("frozen" in path or "moving" in path for path in moved)


def test_the_logits_before_a_softmax_are_fitted_by_their_name():
    X, y = load_digits(return_X_y=True)
    X = (X[:300] / 16).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax", name="classes")])
    found = nj.fit(model, X, y[:300], loss="cross-entropy", of="classes.pre", target=0.02)
    found.apply_to(model)
    p = np.asarray(model.predict(X, verbose=0), np.float64)
    assert -np.mean(np.log(p[np.arange(300), y[:300]])) == pytest.approx(found.loss, rel=1e-3)
    assert np.mean(p.argmax(1) == y[:300]) > 0.99
    with pytest.raises(nj.ShapeError, match=r"of='classes.pre'"):
        nj.fit(model, X, y[:300], loss="cross-entropy")
    one = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1, "sigmoid", name="even")])
    with pytest.raises(nj.ShapeError, match=r"of='even.pre'"):
        nj.fit(one, X, y[:300] % 2, loss="cross-entropy")


def test_a_convolution_with_more_parameters_than_rows():
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(216, 3))
    labels = torch.arange(12) % 3
    found = nj.fit(module, images, labels, loss="cross-entropy", target=1e-3)
    assert found.form == "kernel"
    with torch.no_grad():
        loss = nn.functional.cross_entropy(found.apply_to(module)(images), labels).item()
    assert loss <= 1.001e-3
    assert loss == pytest.approx(found.loss, rel=1e-3)


def test_of_a_callable_pytree_a_new_one_comes_back():
    X, Y = waves(40)
    model = jax.tree_util.Partial(mlp, drawn(3, 4, 2))
    found = nj.fit(model, X, Y, max_iterations=5)
    fitted = found.apply_to(model)
    with jax.enable_x64(True):
        assert np.mean((np.asarray(fitted(X)) - Y) ** 2) == pytest.approx(found.loss, rel=1e-12)
    assert model.args[0]["c"] is not fitted.args[0]["c"]


def test_parameters_go_into_a_like_model_only_and_all_or_none():
    X, Y = waves(40, "float32")
    found = nj.fit(torch_net(), X, Y, max_iterations=2)
    other = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(nj.ShapeError, match=r"4\.weight.*\(3, 8\)"):
        found.apply_to(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    with pytest.raises(nj.UnknownNameError, match=r"2\.weight"):
        found.apply_to(nn.Sequential(nn.Linear(3, 8)))
    with pytest.raises(nj.ShapeError, match="parameters="):
        nj.fit(torch_net(), X, Y, parameters={})


def test_data_on_disk_and_half_precision(tmp_path):
    X, Y = waves(60, "float32")
    np.save(tmp_path / "x.npy", X)
    lying = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = nj.fit(torch_net(), lying, Y, max_iterations=3)
    assert found.loss == nj.fit(torch_net(), X, Y, max_iterations=3).loss
    half = nj.fit(torch_net(), X.astype("float16"), Y, max_iterations=3)
    assert half.loss == pytest.approx(found.loss, rel=0.05)
    assert half.parameters["0.weight"].dtype == np.float32
