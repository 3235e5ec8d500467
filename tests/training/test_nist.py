"""Fits whose answers are published: NIST's certified values, Rosenbrock's valley, Meyer's thermistor, and a sinc."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.training.models import drawn, mlp
from tests.training.nist import BENNETT5, PROBLEMS


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_figures_give_the_certified_sum_of_squares(problem):
    with jax.enable_x64(True):
        residuals = np.asarray(problem.model(jnp.asarray(problem.certified), jnp.asarray(problem.x))) - problem.y
    assert residuals @ residuals == pytest.approx(problem.squares, rel=1e-10)


@pytest.mark.parametrize(
    ("start", "options"), [(0, {}), (1, {}), (0, {"acceleration": True})], ids=["start 1", "start 2", "accelerated"]
)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
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
    def residuals(p, x):
        return jnp.stack([10 * (p["b"] - p["a"] ** 2), 1 - p["a"]])[None]

    found = nj.fit(residuals, np.zeros((1, 1)), np.zeros((1, 2)), parameters={"a": -1.2, "b": 1.0})
    assert abs(found.parameters["a"] - 1) < 1e-8
    assert abs(found.parameters["b"] - 1) < 1e-8


def test_meyers_thermistor_scaled():
    """Meyer 1970 in the scaling of Fletcher: y = 1e-3 · data, x = 0.45 + 0.05 i, minimum at (2.48, 6.18, 3.45)."""
    y = np.array(
        [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
    )
    x = 0.45 + 0.05 * np.arange(1, 17)
    found = nj.fit(
        lambda b, x: b[0] * jnp.exp(10 * b[1] / (x + b[2]) - 13), x, 1e-3 * y,
        parameters=np.array([8.85, 4.0, 2.5]), max_iterations=500,
    )  # fmt: skip
    assert np.allclose(found.parameters["parameters"], [2.48, 6.18, 3.45], atol=0.005)
    assert found.loss * 16 == pytest.approx(8.794585517e-5, rel=1e-6)


def test_a_sinc_by_61_weights_to_1e_7():
    parameters = drawn(1, 20, 1, seed=0, dtype="float32", spread=10)
    X = np.linspace(-1, 1, 1000, dtype="float32").reshape(-1, 1)
    found = nj.fit(mlp, X, np.sinc(10 * X), parameters=parameters, target=1e-7, max_iterations=1000)
    assert found.loss <= 1e-7
    predicted = np.asarray(mlp(found.parameters, X), np.float64)
    assert np.mean((predicted - np.sinc(10 * X.astype("float64"))) ** 2) == pytest.approx(found.loss, rel=0.05)
