import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import netjac as nj
from tests.attacks.references import Net, jsma


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize(("theta", "gamma"), [(1.0, 0.5), (-1.0, 0.5), (0.3, 1.0), (-0.4, 0.34)])
def test_it_is_the_papers_algorithm(classes, theta, gamma):
    net = Net((12, 10, classes), seed={2: 3, 3: 4, 6: 7}[classes], scale=2.0)
    X = np.random.default_rng(0).uniform(0, 1, (16, 12))
    X[:, 3], X[:, 7] = 0, 1  # some cannot move from the start
    y = net.classes(X)
    # The class next to the first, so that some samples reach it.
    targets = np.array([np.argsort(net.scores(x))[-2] for x in X])
    found = nj.attacks.jsma(net.network(), X, y, targets=targets, theta=theta, gamma=gamma, bounds=(0, 1))
    expected = np.array([jsma(net, x, t, theta, gamma, 0, 1) for x, t in zip(X, targets, strict=True)])
    reached = net.classes(expected) == targets
    assert np.array_equal(found.success, reached)
    assert np.allclose(found.adversarial[reached], expected[reached], rtol=0, atol=1e-12)
    assert np.array_equal(found.distance[reached], (expected != X).sum(1)[reached])
    assert (found.distance <= gamma * 12).all()
    assert 0 < reached.sum() < 16


def test_the_other_classes_count():
    """With α alone features 0 and 1 would be taken, which raise the other classes as much as the target."""
    W = np.array([[0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 1.0, 1.0], [2.5, 2.5, -0.5, -0.5]])
    network = nj.network(lambda x: x @ W.T + jnp.array([1.0, 0.0, 0.0]), batched=True)
    found = nj.attacks.jsma(network, np.zeros((1, 4)), targets=[1], theta=1.0, gamma=0.5)
    assert np.array_equal(found.adversarial, [[0, 0, 1, 1]])
    assert found.success.all()


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(X, y)
    W, b = fitted.coef_, fitted.intercept_
    return nj.network(lambda x: x @ W.T + b, batched=True), X, fitted


def test_iris_flowers_become_others_by_two_of_their_four_measures(iris):
    network, X, fitted = iris
    bounds = X.min(0), X.max(0)
    y = fitted.predict(X)
    found = nj.attacks.jsma(network, X, y, theta=0.5, gamma=0.5, steps=12, bounds=bounds)
    assert np.array_equal(fitted.predict(found.adversarial) != y, found.success)
    assert found.success.mean() > 0.5
    assert set(found.distance.astype(int)) <= {0, 1, 2}
    assert (found.adversarial >= bounds[0]).all()
    assert (found.adversarial <= bounds[1]).all()
    changed = found.adversarial - X
    assert (changed > -1e-12).all()
    shrunk = nj.attacks.jsma(network, X, y, theta=-0.5, gamma=0.5, steps=12, bounds=bounds)
    assert (shrunk.adversarial - X < 1e-12).all()


def test_more_steps_move_the_same_features_again_but_no_more_of_them(iris):
    network, X, _ = iris
    few = nj.attacks.jsma(network, X, theta=0.1, gamma=0.5)
    many = nj.attacks.jsma(network, X, theta=0.1, gamma=0.5, steps=100)
    assert many.success.sum() > few.success.sum()
    assert many.distance.max() == 2


def test_a_net_of_two_classes():
    net = Net((10, 6, 2), seed=5, scale=2.0)
    X = np.random.default_rng(1).uniform(0, 1, (20, 10))
    y = net.classes(X)
    for theta in (1.0, -1.0):
        found = nj.attacks.jsma(net.network(), X, y, theta=theta, gamma=1.0, bounds=(0, 1))
        expected = np.array([jsma(net, x, 1 - c, theta, 1.0, 0, 1) for x, c in zip(X, y, strict=True)])
        assert np.array_equal(found.success, net.classes(expected) != y)
        assert np.allclose(found.adversarial[found.success], expected[found.success], rtol=0, atol=1e-12)
        assert 0 < found.success.sum() < 20
