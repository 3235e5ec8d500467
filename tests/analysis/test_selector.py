"""`NetjacSelector` as scikit-learn wants a transformer to be, and what its shadows say."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import netjac as nj

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 6)) * [1, 2, 1, 5, 1, 1]
Y = X[:, 1] + np.sin(2 * X[:, 4])

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def network(**settings):
    return MLPRegressor(
        **{"hidden_layer_sizes": (8,), "max_iter": 200, "random_state": 0, "solver": "lbfgs"} | settings
    )


def test_scikit_learns_own_checks_pass():
    small = MLPRegressor(hidden_layer_sizes=(3,), max_iter=4, random_state=0)  # the default one passes too, in 15 s
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = check_estimator(nj.NetjacSelector(small), on_fail=None)
    assert [(one["check_name"], one["exception"]) for one in done if one["status"] not in ("passed", "skipped")] == []
    assert len(done) > 40


def test_it_finds_the_features_in_a_pipeline():
    model = make_pipeline(StandardScaler(), nj.NetjacSelector(network(), n_features_to_select=2), LinearRegression())
    model.fit(X, Y)
    selector = model[1]
    assert list(selector.get_support(indices=True)) == [1, 4]
    assert list(selector.get_feature_names_out(list("abcdef"))) == ["b", "e"]
    assert selector.selection_.selected == ("x1", "x4")
    assert model[-1].n_features_in_ == 2
    whole = make_pipeline(selector, network()).fit(X, Y)
    J = np.asarray(nj.jacobian(whole, X[:3]))
    assert np.array_equal(np.any(J, 0), selector.support_)
    copy = clone(selector)
    assert not hasattr(copy, "support_")


def test_tables_keep_their_names():
    table = pd.DataFrame(X, columns=list("abcdef"))
    selector = nj.NetjacSelector(make_pipeline(StandardScaler(), network()), n_features_to_select=0.34)
    out = selector.set_output(transform="pandas").fit_transform(table, Y)
    assert list(out.columns) == ["b", "e"]
    assert selector.selection_.selected == ("b", "e")


def test_classes_have_a_classifier():
    selector = nj.NetjacSelector(n_features_to_select=1, random_state=0).fit(
        X[:, :3], np.where(X[:, 1] > 0, "yes", "no")
    )
    assert isinstance(selector.estimator_[-1], MLPClassifier)
    assert list(selector.support_) == [False, True, False]
    assert isinstance(nj.NetjacSelector(random_state=0).fit(X[:40], Y[:40]).estimator_[-1], MLPRegressor)


def test_a_network_of_any_framework_may_be_trained_already():
    module = torch.nn.Linear(6, 1).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.0, 1, 0, 0.01, 0, 0.5]]))
    selector = nj.NetjacSelector(module, prefit=True, threshold=0.2).fit(X)
    assert list(selector.support_) == [False, True, False, False, False, True]
    assert selector.estimator_ is module
    np.testing.assert_array_equal(selector.transform(X), X[:, [1, 5]])


def test_shadows_find_what_matters_and_spare_what_does_not():
    selector = nj.NetjacSelector(
        make_pipeline(StandardScaler(), network()),
        n_features_to_select="test",
        shadows=10,
        correction="fdr",
        random_state=0,
    ).fit(X, Y)
    assert list(selector.get_support(indices=True)) == [1, 4]
    assert selector.estimator_[-1].n_features_in_ == 66
    assert len(selector.p_values_) == selector.n_features_in_ == 6
    assert "shuffled copies" in str(selector.selection_)


def test_the_shadows_test_is_calibrated_where_nothing_matters():
    """y has nothing to do with X: p is uniform over data sets, features and shuffles."""
    p = []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        selector = nj.NetjacSelector(
            network(max_iter=20), n_features_to_select=1, shadows=2, correction="none", random_state=seed
        )
        p.append(selector.fit(draw.standard_normal((100, 40)), draw.standard_normal(100)).selection_.p)
    p = np.concatenate(p)
    for level in (0.05, 0.25, 0.5):
        assert abs(np.mean(p <= level) - level) < 3 * np.sqrt(level * (1 - level) / len(p)) + 0.02, level


def test_what_makes_no_sense_is_refused():
    with pytest.raises(
        nj.ShapeError, match=r"with 1 shadows of 6 features no corrected p is below 0.14.*more shadows="
    ):
        nj.NetjacSelector(network(), n_features_to_select="test", shadows=1, correction="fdr").fit(X, Y)
    with pytest.raises(nj.ShapeError, match="leave out prefit=True"):
        nj.NetjacSelector(network(), prefit=True, shadows=1).fit(X, Y)
    with pytest.raises(nj.ShapeError, match="needs a trained model"):
        nj.NetjacSelector(prefit=True).fit(X)
    with pytest.raises(nj.ShapeError, match="n_features_to_select='all' is none of"):
        nj.NetjacSelector(network(), n_features_to_select="all").fit(X, Y)
    with pytest.raises(nj.UnsupportedOperationError, match="LinearRegression is no network"):
        nj.NetjacSelector(LinearRegression()).fit(X, Y)


def test_netjac_does_not_import_scikit_learn_before_it_is_needed():
    code = "import sys, netjac; assert 'sklearn' not in sys.modules; netjac.NetjacSelector; assert 'sklearn' in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'NetjacSelecter'"):
        nj.NetjacSelecter  # noqa: B018
