import warnings

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import netjac as nj
from tests.attacks.references import Net, deepfool

INF = np.inf


def exact(net, X, y, norm):
    """The distance of each sample to the nearest boundary of an affine classifier."""
    W = net.layers[0][0]
    found = []
    for x, c in zip(X, y, strict=True):
        s, others = net.scores(x), [k for k in range(len(W)) if k != c]
        found.append(min(abs(s[k] - s[c]) / np.linalg.norm(W[k] - W[c], 1 if norm == INF else 2) for k in others))
    return np.array(found)


@pytest.mark.parametrize("norm", [2, INF])
@pytest.mark.parametrize("classes", [2, 7])
def test_of_an_affine_classifier_the_distance_is_exact(norm, classes):
    net = Net((9, classes), seed=classes)
    X = np.random.default_rng(2).standard_normal((30, 9))
    y = net.classes(X)
    for overshoot in (0.02, 0.3):
        found = nj.attacks.deepfool(net.network(), X, y, norm=norm, overshoot=overshoot)
        assert found.success.all()
        assert np.allclose(found.distance, (1 + overshoot) * exact(net, X, y, norm), rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", [2, INF])
def test_it_is_the_papers_algorithm(norm):
    net = Net((7, 12, 5), scale=2.5)
    X = np.random.default_rng(3).standard_normal((25, 7))
    y = net.classes(X)
    found = nj.attacks.deepfool(net.network(), X, y, norm=norm)
    expected = np.array([deepfool(net, x, c, norm) for x, c in zip(X, y, strict=True)])
    assert np.allclose(found.raw, expected, rtol=0, atol=1e-10)
    assert found.success.all()


def test_few_candidates_are_the_classes_of_highest_score():
    net = Net((6, 5))
    X = np.random.default_rng(4).standard_normal((40, 6))
    y = net.classes(X)
    one = nj.attacks.deepfool(net.network(), X, y, candidates=1, steps=1)
    W = net.layers[0][0]
    for x, c, distance in zip(X, y, one.distance, strict=True):
        s = net.scores(x)
        k = np.argmax(np.where(np.arange(5) == c, -INF, s))
        assert np.isclose(distance, 1.02 * (s[c] - s[k]) / np.linalg.norm(W[k] - W[c]), rtol=1e-6)
    assert (one.distance >= nj.attacks.deepfool(net.network(), X, y).distance - 1e-12).all()


def test_targets_are_reached_at_the_exact_distance_where_two_classes_are_all():
    net = Net((6, 2))
    X = np.random.default_rng(5).standard_normal((20, 6))
    y = net.classes(X)
    found = nj.attacks.deepfool(net.network(), X, targets=1 - y)
    assert np.allclose(found.distance, 1.02 * exact(net, X, y, 2), rtol=1e-5)
    many = Net((6, 10, 4), scale=2.0)
    targets = (many.classes(X) + 2) % 4
    found = nj.attacks.deepfool(many.network(), X, targets=targets)
    first, second = np.sort([many.scores(x) for x in found.adversarial], 1)[:, :-3:-1].T
    decided = first - second > 1e-12  # one that fails may lie on the boundary, to rounding
    assert np.array_equal((many.classes(found.adversarial) == targets)[decided], found.success[decided])
    assert found.success.mean() > 0.9
    assert decided.mean() > 0.9
    already = nj.attacks.deepfool(many.network(), X, targets=many.classes(X))
    assert already.success.all()
    assert not already.distance.any()


def test_what_is_misclassified_already_is_not_moved():
    net = Net((6, 8, 3))
    X = np.random.default_rng(6).standard_normal((12, 6))
    found = nj.attacks.deepfool(net.network(), X, (net.classes(X) + 1) % 3)
    assert found.success.all()
    assert np.array_equal(found.raw, X)


def test_an_epsilon_limits_what_counts():
    net = Net((9, 4))
    X = np.random.default_rng(2).standard_normal((30, 9))
    found = nj.attacks.deepfool(net.network(), X)
    limit = float(np.median(found.distance))
    limited = nj.attacks.deepfool(net.network(), X, epsilon=limit)
    assert np.array_equal(limited.success, found.distance <= limit)
    assert np.allclose(found.success_within([0, limit, 100]), [0, limited.success.mean(), 1])


@pytest.fixture(scope="module")
def digits():
    """A multilayer perceptron trained on digits in a second, and 450 images it has not seen."""
    images, labels = load_digits(return_X_y=True)
    X = (images / 16).astype(np.float32)
    fitted = MLPClassifier((64, 32), learning_rate_init=0.01, max_iter=12, tol=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X[450:], labels[450:])
    layers = [
        (W.astype(np.float32), b.astype(np.float32)) for W, b in zip(fitted.coefs_, fitted.intercepts_, strict=True)
    ]

    def f(x):
        for W, b in layers[:-1]:
            x = jax.nn.relu(x @ W + b)
        return x @ layers[-1][0] + layers[-1][1]

    return nj.network(f, batched=True), fitted, X[:450], labels[:450]


@pytest.mark.parametrize("norm", [2, INF])
def test_every_digit_is_misclassified_with_clipping_on(digits, norm):
    network, fitted, x, y = digits
    assert fitted.score(x, y) > 0.9
    found = nj.attacks.deepfool(network, x, y, norm=norm, bounds=(0, 1))
    assert found.success.all()
    assert (fitted.predict(found.adversarial) != y).all()
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    assert np.array_equal(np.clip(found.raw, 0, 1), found.adversarial)
    assert (found.raw < 0).any()
    free = nj.attacks.deepfool(network, x, y, norm=norm)
    assert free.success.all()
    # Half of the pixels lie at zero and can only grow, so bounds cost something, but not much.
    assert free.distance.mean() < found.distance.mean() < 1.5 * free.distance.mean()


def test_samples_of_any_number_fill_the_slots(digits):
    """More samples than slots, fewer, and one: each as by itself."""
    network, _, x, y = digits
    whole = nj.attacks.deepfool(network, x[:150], y[:150], bounds=(0, 1))
    for chosen in (slice(0, 100), slice(20, 70), slice(149, 150)):
        part = nj.attacks.deepfool(network, x[chosen], y[chosen], bounds=(0, 1))
        assert np.allclose(part.adversarial, whole.adversarial[chosen], rtol=0, atol=2e-5)


def test_one_program_is_compiled_for_all_epsilons_and_overshoots(digits):
    network, _, x, y = digits
    nj.attacks.deepfool(network, x[:64], y[:64], overshoot=0.02)
    nj.attacks.pgd(network, x[:64], y[:64], epsilon=0.1)
    found = []

    def heard(event, *_, **__):
        found.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        nj.attacks.deepfool(network, x[:64], y[:64], overshoot=0.05, steps=30)
        nj.attacks.pgd(network, x[:64], y[:64], epsilon=0.2, step_size=0.01, steps=7)
        assert not [event for event in found if "compile" in event]
        nj.attacks.deepfool(network, x[:63], y[:63])
        assert [event for event in found if "compile" in event]
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
