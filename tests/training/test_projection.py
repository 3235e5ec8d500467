"""A last layer at its optimum: what is recognised as one, and that what is left is exact linear algebra."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from torch import nn

import netjac as nj
from netjac.pieces import Options
from netjac.precision import precise
from netjac.training.problem import Problem
from netjac.training.projected import Projected
from netjac.training.samples import Samples
from netjac.training.systems import FORMS
from tests.oracles import relative_error
from tests.training.models import drawn, mlp, waves


def posed(function, parameters, X, Y):
    network = nj.network(jax.tree_util.Partial(function, parameters), batched=True)
    return Problem(network, Samples.of(X, Y), "mse", "output", Options())


def separated(function, parameters, X):
    with precise(True):
        outputs = np.asarray(function(parameters, jnp.asarray(X)))
    return posed(function, parameters, X, np.zeros(outputs.shape)).separated(len(X))


def by_name(problem, like, theta):
    """The parameters of a function as it takes them."""
    names = zip(sorted(like), problem.sizes.columns.values(), strict=True)
    return {name: theta[place].reshape(like[name].shape) for name, place in names}


def stored_by_column(p, x):
    return p["c"] + jnp.tanh(x @ p["W"] + p["b"]) @ p["V"].reshape(2, -1).T


# What is a last layer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [mlp, stored_by_column, lambda p, x: nj.mark(mlp(p, x), "y").reshape(-1, 2, 1)])
def test_weights_and_bias_are_found_wherever_their_entries_lie(function):
    """By the derivative: moving an entry moves its own output by its own feature, and no other."""
    X, p = waves(7)[0], drawn(3, 4, 2)
    found = separated(function, p, X)
    problem = posed(function, p, X, np.zeros((7, 2)))
    with precise(True):
        of = lambda theta: function(by_name(problem, p, theta), jnp.asarray(X)).reshape(7, 2)  # noqa: E731
        J = np.asarray(jax.jacrev(of)(problem.theta))
        phi = np.concatenate([np.tanh(X @ p["W"] + p["b"]), np.ones((7, 1))], 1)
    for feature, output in np.ndindex(found.layer.shape):
        column = J[:, :, found.layer[feature, output]]
        assert np.allclose(column[:, output], phi[:, feature], atol=1e-12)
        assert not column[:, 1 - output].any()
    assert sorted([*found.kept, *found.layer.ravel()]) == list(range(problem.parameters))


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda p, x: jnp.tanh(mlp(p, x)), id="bent afterwards"),
        pytest.param(lambda p, x: jnp.tanh(x @ p["W"] + p["b"]) @ p["W"].T, id="weights used twice"),
        pytest.param(lambda p, x: mlp({**p, "b": p["b"] + p["c"].sum()}, x), id="a bias used twice"),
        pytest.param(lambda p, x: mlp(p, x) + x[:, :1] * p["b"][0], id="a skip with parameters of its own"),
        pytest.param(lambda p, x: jnp.tanh(x @ p["W"]) @ p["V"] + p["b"][0], id="one bias for all outputs"),
        pytest.param(lambda p, x: jnp.tanh(x @ p["W"]) @ (2 * p["V"]), id="weights that are made of parameters"),
        pytest.param(lambda p, x: x @ p["V"].repeat(2, 0)[:3], id="an entry in two places"),
    ],
)
def test_what_only_looks_like_a_last_layer_is_none(function):
    X, p = waves(6)[0], drawn(3, 4, 2)
    assert separated(function, p, X) is None


def test_the_last_layers_of_frameworks_are_recognised_and_frozen_ones_are_not():
    X = waves(9, "float32")[0]
    keras.utils.set_random_seed(0)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2, name="last")])
    for model in (dense, nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))):
        found = Problem(nj.network(model), Samples.of(X, np.zeros((9, 2))), "mse", "output", Options()).separated(9)
        assert found.layer.shape == (5, 2)
        assert len(found.kept) == 16
    dense.get_layer("last").trainable = False
    frozen = Problem(nj.network(dense), Samples.of(X, np.zeros((9, 2))), "mse", "output", Options())
    assert frozen.separated(9) is None


# What is left -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "m"), [(5, 2), (3, 6), (4, 1)], ids=["by outputs", "by features", "one output"])
def test_what_is_left_is_the_schur_complement_of_all_parameters_equations(hidden, m):
    """K = A − C S⁻¹ Cᵀ and the gradient with it, J by jax.jacrev; at the optimum of the last layer it is the full gradient."""
    X, p = waves(30)[0], drawn(3, hidden, m)
    Y = np.sin(X @ np.random.default_rng(5).standard_normal((3, m)))
    problem = posed(mlp, p, X, Y)
    part = problem.part()
    ((separate, run),) = part.runs(problem.separated)
    assert separate.by_outputs == (m <= hidden)
    with precise(True):
        of = lambda theta: jnp.ravel(mlp(by_name(problem, p, theta), jnp.asarray(X)))  # noqa: E731
        for theta in (problem.theta, Projected.start(part, problem.theta)):
            J, r = np.asarray(jax.jacrev(of)(theta)), np.asarray(of(theta)) - Y.ravel()
            A, g, own, rest = J.T @ J, J.T @ r, separate.layer.ravel(), separate.kept
            C, S = A[np.ix_(rest, own)], A[np.ix_(own, own)]
            found = separate.sized.call(separate.point, theta, *run, separate.before(theta), False)
            assert relative_error(found[3], A[np.ix_(rest, rest)] - C @ np.linalg.solve(S, C.T)) < 1e-6
            assert relative_error(found[1], g[rest] - C @ np.linalg.solve(S, g[own])) < 1e-6
            assert np.asarray(found[0]) == pytest.approx([0.5 * r @ r, np.abs(g).max()], rel=1e-9)
        assert relative_error(found[1], g[rest]) < 1e-6
        phi = np.concatenate([np.tanh(X @ p["W"] + p["b"]), np.ones((30, 1))], 1)
        best = np.linalg.lstsq(phi, Y, rcond=None)[1].sum()
        assert float(part.value(theta)) == pytest.approx(0.5 * best, rel=1e-9)


def test_features_that_are_alike_leave_the_loss_no_worse():
    """Two units with the same weights, and one that is dead: S is singular."""
    X, Y = waves(60)
    p = drawn(3, 5, 2)
    p["W"][:, 1], p["b"][1] = p["W"][:, 0], p["b"][0]
    p["W"][:, 2], p["b"][2] = 0, 0
    found = nj.fit(mlp, X, Y, parameters=p, form="projected", max_iterations=20)
    accepted = [found.initial_loss, *(one.loss for one in found.history if one.accepted)]
    assert all(a > b for a, b in itertools.pairwise(accepted))
    assert all(np.isfinite(value).all() for value in found.parameters.values())


def test_a_sinc_takes_a_third_of_the_iterations():
    parameters = drawn(1, 20, 1, seed=0, dtype="float32", spread=10)
    X = np.linspace(-1, 1, 1000, dtype="float32").reshape(-1, 1)
    given = {"parameters": parameters, "target": 1e-5, "max_iterations": 500}
    auto, plain = (nj.fit(mlp, X, np.sinc(10 * X), form=form, **given) for form in (None, "spectral"))
    assert (auto.form, plain.form) == ("projected", "spectral")
    assert auto.loss <= 1e-5
    assert 3 * auto.iterations < plain.iterations


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": "cross-entropy", "Y": np.arange(40) % 2}, "closed form"),
        ({"batch": 20}, "batch"),
        ({"acceleration": True}, "acceleration"),
        ({"model": lambda p, x: jnp.tanh(mlp(p, x))}, "linear layer"),
    ],
)
def test_where_there_is_no_optimum_to_keep_to_it_is_refused_and_another_form_taken(changed, said):
    X, Y = waves(40)
    given = {"model": mlp, "X": X, "Y": Y, "parameters": drawn(3, 4, 2), "max_iterations": 2, **changed}
    with pytest.raises(nj.ShapeError, match=said):
        nj.fit(form="projected", **given)
    assert nj.fit(**given).form in FORMS
    assert nj.fit(**given).form != "projected"
