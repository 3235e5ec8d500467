"""What a Gauss–Newton matrix leaves out: what is learned of it, and when it is followed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes

import netjac as nj
from netjac.pieces import Options
from netjac.precision import precise
from netjac.training.damping import Halving, Nielsen, Proposal
from netjac.training.problem import Problem
from netjac.training.projected import Projected
from netjac.training.samples import Samples
from netjac.training.secant import Forecasts, learned
from tests.oracles import relative_error
from tests.training.models import drawn, mlp, waves


def drawn_matrix(rng, size):
    A = rng.standard_normal((size, size))
    return A + A.T


def test_the_next_matrix_is_symmetric_and_sends_the_step_to_what_was_left_out():
    rng = np.random.default_rng(0)
    with precise(True):
        for _ in range(5):
            Q, K = drawn_matrix(rng, 4), drawn_matrix(rng, 4)
            s, y = rng.standard_normal((2, 4))
            found = np.asarray(learned(*map(jnp.asarray, (Q, K, s, y))))
            assert relative_error(found @ s, y - K @ s) < 1e-12
            assert relative_error(found, found.T) < 1e-14
        found = learned(jnp.zeros((2, 2)), jnp.eye(2), jnp.array([1.0, 0]), jnp.array([3.0, 0]))
        assert np.array_equal(found, np.diag([2, 0]))


def test_steps_that_say_nothing_teach_nothing():
    rng = np.random.default_rng(0)
    with precise(True):
        Q, K = jnp.asarray(drawn_matrix(rng, 3)), jnp.eye(3)
        for s, y in (([0, 0, 0], [1, 2, 3]), ([1, 0, 0], [0, 1, 0]), ([1, 0, 0], [np.nan, 0, 0])):
            assert np.array_equal(learned(Q, K, jnp.array(s, float), jnp.array(y, float)), Q)


def test_of_a_quadratic_function_what_is_left_out_comes_to_be_known():
    """A gradient H x with Q = H − K: steps along the axes of H and y = H s have Q found in as many steps."""
    rng = np.random.default_rng(1)
    with precise(True):
        vectors = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        H, K = vectors @ np.diag([5.0, 3.0, 2.0]) @ vectors.T, np.eye(3)
        Q = jnp.zeros((3, 3))
        for s in vectors.T:
            Q = learned(Q, jnp.asarray(K), jnp.asarray(s), jnp.asarray(H @ s))
        assert relative_error(Q, H - K) < 1e-12


def test_it_is_followed_only_as_long_as_it_foretells_better():
    forecasts = Forecasts()
    assert not forecasts.curved
    for _ in range(3):
        forecasts.compare(fall=1.0, plain=3.0, curved=1.05)
    assert forecasts.curved
    for _ in range(4):
        forecasts.compare(fall=1.0, plain=1.0, curved=-2.0)
    assert not forecasts.curved
    plain = Forecasts()
    for _ in range(9):
        plain.compare(fall=1.0, plain=1.5, curved=1.5)
    assert not plain.curved


def test_undamped_steps_are_those_of_gauss_and_newton_alone():
    strategies = Nielsen(1e-3, 1e-9), Halving(1e-9)
    for strategy in strategies:
        for _ in range(5):
            strategy.compared(1.0, 3.0, 1.0)
    assert [strategy.proposal.curved for strategy in strategies] == [True, False]


def test_where_much_loss_must_stay_it_saves_most_iterations(monkeypatch):
    """Diabetes: a quarter of the variance stays. Where next to none does, nothing changes."""
    X, y = load_diabetes(return_X_y=True)
    X, Y = ((a - a.mean(0)) / a.std(0) for a in (X, y[:, None]))
    starts = [drawn(10, 10, 1, seed=seed) for seed in range(3)]
    teacher = drawn(3, 4, 2, seed=9)
    easy = waves(200)[0], np.asarray(np.tanh(waves(200)[0] @ teacher["W"] + teacher["b"]) @ teacher["V"])

    def taken():
        stay = [nj.fit(mlp, X, Y, parameters=start, target=0.25, max_iterations=300) for start in starts]
        go = nj.fit(mlp, *easy, parameters=drawn(3, 4, 2), scaled=False, max_iterations=60, target=1e-10)
        assert all(found.form == "projected" for found in [*stay, go])
        return [sum(found.iterations for found in stay), go.iterations]

    learning = taken()
    monkeypatch.setattr(Forecasts, "curved", False)
    plain = taken()
    assert 2 * learning[0] < plain[0]
    assert learning[1] <= plain[1]


def test_what_a_step_promises_with_it_and_without_are_its_two_quadratics():
    X, Y = waves(60)
    network = nj.network(jax.tree_util.Partial(mlp, drawn(3, 5, 2)), batched=True)
    problem = Problem(network, Samples.of(X, Y), "mse", "output", Options())
    assert problem.separated(60) is not None
    part = problem.part()
    ((separate, _),) = part.runs(problem.separated)
    with precise(True):
        first = Projected(part, Projected.start(part, problem.theta), None, False)
        moved = first.attempt(Proposal(0.1), False).theta
        system = Projected(part, moved, first.handed, False)
        D, Q, here, g = map(np.asarray, system.handed)
        K = np.asarray(system._matrix)
        assert np.abs(Q).max() > 0
        assert (
            relative_error(
                Q @ (here - np.asarray(first.handed[2])), (g - first.handed[3]) - K @ (here - first.handed[2])
            )
            < 1e-9
        )
        for curved in (False, True):
            step = system.attempt(Proposal(1.0, 0.5, curved), False)
            v = -np.linalg.solve(K + curved * Q + np.diag(D), g)
            left = np.asarray(step.theta)[separate.kept] - here
            assert relative_error(left, 0.5 * v) < 1e-9
            least = float(system._least)
            promises = [least - left @ g - 0.5 * left @ (K + share * Q) @ left for share in (0, 1)]
            assert np.asarray(step.forecasts) == pytest.approx(promises, rel=1e-9)
            assert step.promised == step.forecasts[curved]
