"""Features by what a network does with them: against formulas, regression, and the hypotheses that the p-values are of."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import netjac as nj
from netjac.analysis import effects, passes
from netjac.analysis.passes import over
from netjac.analysis.significance import adjusted, beside_shadows, least_p
from netjac.analysis.subset import greedy

RNG = np.random.default_rng(0)
WEIGHTS = np.array([1.0, -2.0, 0.0, 0.5, 3.0])
MIXED = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5)) + [10, 0, 0, -5, 1e6]


def of(f):
    return nj.network(f, batched=True)


linear = of(lambda x: x @ WEIGHTS)


def test_the_importance_of_a_linear_networks_feature_is_weight_times_deviation():
    found = nj.select_features(linear, MIXED, 3)
    expected = np.abs(WEIGHTS) * MIXED.std(0)
    np.testing.assert_allclose(found.importance, expected, rtol=1e-9)
    assert list(found.indices) == list(np.argsort(-expected)[:3])
    assert found.samples == 200
    np.testing.assert_allclose(
        found.explained, np.cumsum(np.sort(expected**2)[::-1])[:3] / np.sum(expected**2), rtol=1e-9
    )


def test_a_nonlinear_networks_importance_is_the_mean_square_of_its_jacobian():
    net = of(lambda x: jnp.stack([jnp.sin(x[:, 0] * x[:, 1]), jnp.exp(x[:, 2])], -1))
    X = RNG.standard_normal((70, 3))
    J = np.asarray(nj.jacobian(net, X))
    found = nj.select_features(net, X, 2, output_scale=[1.0, 4.0])
    scaled = J / np.array([1.0, 4.0])[:, None]
    np.testing.assert_allclose(found.importance, np.sqrt((scaled**2).sum(1).mean(0)) * X.std(0), rtol=1e-12)
    own = nj.select_features(net, X, 2, scale=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(own.importance, np.sqrt((J**2).sum(1).mean(0)) * [1, 2, 3], rtol=1e-12)


def test_runs_and_batches_give_what_the_whole_gives(monkeypatch):
    net = of(lambda x: jnp.tanh(x @ np.outer(WEIGHTS, [1.0, 0.3])))
    X = MIXED / MIXED.std(0)
    for method in ("rank", "redundancy"):
        whole = nj.select_features(net, X, 3, method=method)
        with monkeypatch.context() as patch:
            patch.setattr(passes, "MOST", 32)
            parts = nj.select_features(net, X, 3, method=method)
            coming = nj.select_features(net, iter([X[:50], X[50:51], X[51:]]), 3, method=method)
        for other in (parts, coming):
            assert list(other.indices) == list(whole.indices)
            np.testing.assert_allclose(other.importance, whole.importance, rtol=1e-10)
            np.testing.assert_allclose(other.explained, whole.explained, rtol=1e-7)
            np.testing.assert_allclose(other.p, whole.p)


def forward_regression(X, y, k):
    """Forward selection by R² of least squares, every candidate tried."""
    X, y, chosen, explained = X - X.mean(0), y - y.mean(), [], []
    for _ in range(k):
        scores = {}
        for j in set(range(X.shape[1])) - set(chosen):
            columns = X[:, [*chosen, j]]
            rest = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
            scores[j] = 1 - (rest @ rest) / (y @ y)
        best = max(scores, key=scores.get)
        chosen.append(best)
        explained.append(scores[best])
    return chosen, explained


def test_without_redundancy_a_linear_network_is_forward_regression():
    """For linear f the bound is an equality: what is left to guess of f is the residual of least squares."""
    X = MIXED / MIXED.std(0)
    found = nj.select_features(linear, X, 4, method="redundancy")
    chosen, explained = forward_regression(X, X @ WEIGHTS, 4)
    assert list(found.indices) == chosen
    np.testing.assert_allclose(found.explained, explained, rtol=1e-9)


def test_without_redundancy_a_copy_gains_nothing():
    X = RNG.standard_normal((300, 3))
    copied = np.concatenate([X, X[:, :1] * 2 + 1], 1)
    net = of(lambda x: 3 * x[:, 0] + x[:, 1] + x[:, 2] + 1.4 * x[:, 3])
    assert set(nj.select_features(net, copied, 2).indices) == {0, 3}
    found = nj.select_features(net, copied, 4, method="redundancy")
    assert len(found.indices) == 3
    assert len({0, 3} & set(found.indices)) == 1
    np.testing.assert_allclose(found.explained[-1], 1, rtol=1e-12)


def test_the_bound_of_a_nonlinear_function_holds_and_is_the_published_one():
    """f = x_0² + sin x_1 on a standard normal x: E f_0² = 4, E f_1² = (1 + e⁻²)/2, where variances are 2 and (1 − e⁻²)/2."""
    x = np.random.default_rng(3).standard_normal((40_000, 2))
    found = nj.select_features(of(lambda x: x[:, 0] ** 2 + jnp.sin(x[:, 1])), x, 2, method="redundancy")
    cosine = (1 + np.exp(-2)) / 2
    assert list(found.indices) == [0, 1]
    np.testing.assert_allclose(found.explained[0], 4 / (4 + cosine), rtol=0.02)
    bound_left = (1 - found.explained[0]) * np.sum(found.importance**2)
    assert bound_left >= np.var(np.sin(x[:, 1]))


def test_greedy_by_hand():
    ones = np.ones((2, 2))
    assert greedy(ones, np.eye(2), 2) == ([0, 1], [0.5, 1.0])
    assert greedy(ones, ones, 2) == ([0], [1.0])
    assert greedy(np.zeros((2, 2)), np.eye(2), 2) == ([], [])


@pytest.mark.parametrize(("samples", "groups"), [(80, 128), (400, 64)])
def test_the_test_is_calibrated_where_the_hypothesis_just_holds(monkeypatch, samples, groups):
    """300 features of one law: each has exactly the effect of an average one, so p is uniform, over samples."""
    monkeypatch.setattr(effects, "GROUPS", groups)
    X = np.random.default_rng(5).standard_normal((samples, 300))
    net = of(lambda x: jnp.sin(2 * x).sum(-1))
    p = nj.select_features(net, X, 1, negligible=1.0, correction="none", scale=np.ones(300)).p
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(p <= level) - level) < 3 * np.sqrt(level * (1 - level) / 300) + 0.01, level


def test_groups_hold_every_sample_once(monkeypatch):
    monkeypatch.setattr(effects, "GROUPS", 64)
    monkeypatch.setattr(passes, "MOST", 50)
    net, X = of(lambda x: jnp.tanh(x @ WEIGHTS)), RNG.standard_normal((333, 5))
    found = effects.measured(over(net, X), None, None, True, seed=0)
    assert found.group_sizes.sum() == 333
    assert len(found.group_sizes) == 64
    J = np.asarray(nj.jacobian(net, X))
    np.testing.assert_allclose(found.group_sums.sum(0), (J**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.gram, J.T @ J / 333, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(X.T, ddof=0), rtol=1e-10)


def test_the_test_finds_what_acts_and_not_what_does_not():
    weights = np.where(np.arange(30) < 5, 1.0, 0.02)
    net = of(lambda x: jnp.tanh(x) @ weights)
    X = np.random.default_rng(6).standard_normal((150, 30))
    found = nj.select_features(net, X)
    assert sorted(found.indices) == [0, 1, 2, 3, 4]
    assert np.all(found.adjusted[5:] > 0.9)
    assert "found to do something (adjusted p ≤ 0.05)" in str(found)
    assert len(nj.select_features(net, X, negligible=0.01, correction="fdr").indices) == 30


def test_of_one_sample_or_no_effect_nothing_is_found():
    assert len(nj.select_features(linear, MIXED[:1]).indices) == 0
    still = nj.select_features(of(lambda x: 0 * x.sum(-1)), MIXED)
    assert len(still.indices) == 0
    assert np.all(still.importance == 0)


def test_corrections_by_known_values():
    """As R's p.adjust gives them."""
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted(p, "holm"), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(adjusted(p, "fdr"), [0.02, 0.04, 0.04, 0.02])
    np.testing.assert_array_equal(adjusted(p, "none"), p)


def test_shadows_are_counted():
    np.testing.assert_allclose(beside_shadows(np.array([5.0, 2.0, 0.0]), np.array([1.0, 2.0, 3.0])), [0.25, 0.75, 1.0])
    assert least_p(10, 90, "fdr") == pytest.approx(1 / 91)
    assert least_p(10, 90, "holm") == pytest.approx(10 / 91)


def test_thresholds_names_and_layers():
    table = pd.DataFrame(MIXED / MIXED.std(0), columns=list("abcde"))
    found = nj.select_features(linear, table, threshold=0.6)
    assert found.selected == ("e", "b")
    assert nj.select_features(linear, table, 1, feature_names=list("vwxyz")).selected == ("z",)
    layered = of(lambda x: jnp.tanh(nj.mark(x @ np.diag(WEIGHTS), "hidden")).sum(-1))
    assert set(nj.select_features(layered, table, 2, of="hidden").selected) == {"e", "b"}
    images = nj.select_features(of(lambda x: x[:, 1, 2] ** 2), RNG.standard_normal((20, 3, 4)), 1)
    assert images.selected == ("x6",)


def test_a_selection_can_be_read_kept_and_used():
    found = nj.select_features(linear, pd.DataFrame(MIXED, columns=list("abcde")), 2)
    assert "2 of 5 features, those with the largest effect; 200 samples" in repr(found)
    assert "<pre>" in found._repr_html_()
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["feature"] for row in told["selected"]] == list(found.selected)
    assert list(found.table()["feature"]) == list(found.selected)
    np.testing.assert_array_equal(found.transform(MIXED), MIXED[:, np.sort(found.indices)])
    with pytest.raises(nj.ShapeError, match=r"give \(samples, 5\)"):
        found.transform(MIXED[:, :4])


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"k": 6}, nj.ShapeError, "k=6 of 5 features"),
        ({"k": 0}, nj.ShapeError, "k=0 of 5"),
        ({"k": 1.5}, nj.ShapeError, "no number of features"),
        ({"k": 2, "threshold": 0.5}, nj.ShapeError, "give one of them"),
        ({"threshold": 2}, nj.ShapeError, "at most 1"),
        ({"method": "best"}, nj.UnknownNameError, "no method is called 'best'"),
        ({"method": "redundancy"}, nj.ShapeError, "say how many with k"),
        ({"correction": "bonferoni"}, nj.UnknownNameError, "no correction"),
        ({"alpha": 1.0}, nj.ShapeError, "alpha=1"),
        ({"negligible": 0}, nj.ShapeError, "negligible=0"),
        ({"k": 1, "scale": [1, 2]}, nj.ShapeError, "scale has shape"),
        ({"k": 1, "scale": "range"}, nj.ShapeError, "scale='range' is no list"),
        ({"k": 1, "output_scale": [0.0]}, nj.ShapeError, "1 positive numbers"),
        ({"k": 1, "feature_names": ["a"]}, nj.ShapeError, "1 feature_names"),
        ({"k": 1, "method": "redundancy", "memory": 700}, nj.TooLargeError, "use method='rank'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error, told):
    with pytest.raises(error, match=told):
        nj.select_features(linear, MIXED, **arguments)


def test_a_derivative_that_is_not_finite_is_named():
    x = np.abs(RNG.standard_normal((20, 3)))
    x[7, 1] = 0
    with pytest.raises(nj.NonFiniteError, match=r"∂output/∂.feature 1. of '<lambda>' is not finite"):
        nj.select_features(of(lambda x: jnp.sqrt(x).sum(-1)), x, 1)
