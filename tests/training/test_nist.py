"""Fits whose answers are published: NIST's certified values, Rosenbrock's valley, Meyer's thermistor, and a sinc."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from benchmarks.nist import BENNETT5, MEYER, NIST, PROBLEMS, ROSENBROCK
from tests.training.models import drawn, mlp


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_figures_give_the_certified_sum_of_squares(problem):
    with jax.enable_x64(True):
        fitted = np.asarray(problem.model(jnp.asarray(problem.certified), jnp.asarray(problem.x)))
    assert np.sum((fitted - problem.y) ** 2) == pytest.approx(problem.squares, rel=1e-10)


@pytest.mark.parametrize(
    ("start", "options"), [(0, {}), (1, {}), (0, {"acceleration": True})], ids=["start 1", "start 2", "accelerated"]
)
@pytest.mark.parametrize("problem", NIST, ids=lambda p: p.name)
def test_certified_values_are_reached_from_both_starts(problem, start, options):
    begun = {"b": np.array(problem.starts[start])}
    found = nj.fit(
        lambda p, x: problem.model(p["b"], x), problem.x, problem.y, parameters=begun, max_iterations=400, **options
    )
    assert found.converged
    assert np.allclose(found.parameters["b"], problem.certified, rtol=1e-6, atol=0)
    assert found.loss * len(problem.y) == pytest.approx(problem.squares, rel=1e-9)
    assert np.array_equal(begun["b"], problem.starts[start])


def test_gauss_newton_alone_reaches_a_certified_value():
    found = nj.fit(
        lambda p, x: BENNETT5.model(p["b"], x), BENNETT5.x, BENNETT5.y,
        parameters={"b": np.array(BENNETT5.starts[0])}, method="gauss-newton",
    )  # fmt: skip
    assert np.allclose(found.parameters["b"], BENNETT5.certified, rtol=1e-6, atol=0)
    assert found.iterations < 20


def test_geodesic_acceleration_goes_along_a_bent_valley_in_fewer_iterations():
    plain, bent = (
        nj.fit(
            lambda p, x: BENNETT5.model(p["b"], x), BENNETT5.x, BENNETT5.y,
            parameters={"b": np.array(BENNETT5.starts[0])}, max_iterations=400, acceleration=accelerated,
        )
        for accelerated in (False, True)
    )  # fmt: skip
    assert 4 * bent.iterations < plain.iterations


def test_rosenbrocks_valley_is_followed_to_its_end():
    found = nj.fit(ROSENBROCK.model, ROSENBROCK.x, ROSENBROCK.y, parameters=np.array(ROSENBROCK.starts[0]))
    assert np.allclose(found.parameters["parameters"], [1, 1], rtol=0, atol=1e-8)


def test_meyers_thermistor_scaled():
    found = nj.fit(MEYER.model, MEYER.x, MEYER.y, parameters=np.array(MEYER.starts[0]), max_iterations=500)
    assert np.allclose(found.parameters["parameters"], MEYER.certified, rtol=1e-6, atol=0)
    assert found.loss * 16 == pytest.approx(MEYER.squares, rel=1e-6)


def test_a_sinc_by_61_weights_to_1e_7():
    parameters = drawn(1, 20, 1, seed=0, dtype="float32", spread=10)
    X = np.linspace(-1, 1, 1000, dtype="float32").reshape(-1, 1)
    found = nj.fit(mlp, X, np.sinc(10 * X), parameters=parameters, target=1e-7, max_iterations=1000)
    assert found.loss <= 1e-7
    predicted = np.asarray(mlp(found.parameters, X), np.float64)
    assert np.mean((predicted - np.sinc(10 * X.astype("float64"))) ** 2) == pytest.approx(found.loss, rel=0.05)
