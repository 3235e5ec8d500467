"""FGSM and PGD."""

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.attacks.norms import drawn
from tests.attacks.references import Net, fgsm

INF = np.inf


@pytest.fixture(scope="module")
def net():
    return Net((6, 8, 4), scale=2.0)


@pytest.fixture(scope="module")
def network(net):
    return net.network()


@pytest.fixture(name="X", scope="module")
def inputs():
    return np.random.default_rng(1).uniform(0, 1, (40, 6))


@pytest.fixture(scope="module")
def y(net, X):
    return net.classes(X)


def test_fgsm_is_the_sign_of_the_gradient_of_the_cross_entropy(net, network, X, y):
    found = nj.attacks.fgsm(network, X, y, epsilon=0.2, bounds=(0, 1))
    expected = np.array([fgsm(net, x, c, 0.2) for x, c in zip(X, y, strict=True)])
    assert np.array_equal(found.raw, expected)
    assert np.array_equal(found.adversarial, np.clip(expected, 0, 1))
    assert np.array_equal(found.success, net.classes(np.clip(expected, 0, 1)) != y)
    assert 0 < found.success.sum() < len(X)
    assert found.raw.dtype == np.float64


def test_targeted_fgsm_goes_down_the_loss_of_the_target(net, network, X, y):
    targets = (y + 1) % 4
    found = nj.attacks.fgsm(network, X, y, epsilon=0.2, targets=targets)
    expected = np.array([fgsm(net, x, t, 0.2, -1) for x, t in zip(X, targets, strict=True)])
    assert np.array_equal(found.raw, expected)
    assert np.array_equal(found.success, net.classes(expected) == targets)


def test_fgsm_in_l2_goes_along_the_gradient(net, network, X, y):
    from tests.attacks.references import loss_gradient

    found = nj.attacks.fgsm(network, X, y, epsilon=0.3, norm=2)
    for x, c, moved in zip(X, y, found.raw, strict=True):
        g = loss_gradient(net, x, c)
        assert np.allclose(moved, x + 0.3 * g / np.linalg.norm(g), rtol=0, atol=1e-12)
    assert np.allclose(found.distance, 0.3, rtol=1e-12)


@pytest.mark.parametrize("norm", [INF, 2])
@pytest.mark.parametrize("seed", range(3))
def test_pgd_is_never_weaker_than_fgsm_and_stays_in_ball_and_bounds(network, X, y, norm, seed):
    for epsilon in (0.05, 0.15, 0.4):
        once = nj.attacks.fgsm(network, X, y, epsilon=epsilon, norm=norm, bounds=(0, 1))
        many = nj.attacks.pgd(network, X, y, epsilon=epsilon, norm=norm, bounds=(0, 1), steps=10, seed=seed)
        assert not (once.success & ~many.success).any()
        assert (many.distance <= epsilon * (1 + 1e-12)).all()
        assert many.adversarial.min() >= 0
        assert many.adversarial.max() <= 1


def test_pgd_with_steps_too_long_for_it_is_not_weaker_than_fgsm_either(network, X, y):
    once = nj.attacks.fgsm(network, X, y, epsilon=0.1, bounds=(0, 1))
    for every in (False, True):
        # Each step leads from corner to corner of the ball.
        many = nj.attacks.pgd(network, X, y, epsilon=0.1, bounds=(0, 1), steps=2, step_size=5.0, all_steps=every)
        assert not (once.success & ~many.success).any()


def test_all_steps_give_a_margin_no_smaller(net, network, X, y):
    def margin(found):
        rows = []
        for x, c in zip(found.adversarial, y, strict=True):
            s = net.scores(x)
            rows.append(np.delete(s, c).max() - s[c])
        return np.array(rows)

    short = nj.attacks.pgd(network, X, y, epsilon=0.1, steps=20, bounds=(0, 1))
    whole = nj.attacks.pgd(network, X, y, epsilon=0.1, steps=20, bounds=(0, 1), all_steps=True)
    assert (whole.success == short.success).all()
    assert (margin(whole) >= margin(short) - 1e-12).all()
    assert (margin(whole) > margin(short) + 1e-3).any()


def test_a_random_start_is_the_same_however_samples_are_cut(network, X, y):
    given = {"epsilon": 0.1, "steps": 3, "step_size": 0.01, "seed": 5, "all_steps": True}
    whole = nj.attacks.pgd(network, X, y, **given)
    # So little memory that one sample is taken at a time.
    cut = nj.attacks.pgd(network, X, y, **given, memory=4000)
    assert np.allclose(whole.raw, cut.raw, rtol=0, atol=1e-14)
    other = nj.attacks.pgd(network, X, y, **{**given, "seed": 6})
    assert not np.allclose(whole.raw, other.raw)


@pytest.mark.parametrize(("norm", "size"), [(INF, 3), (2, 3), (2, 50)])
def test_starts_lie_all_over_the_ball(norm, size):
    points = drawn((4000, size), 0.5, norm, np.random.default_rng(0))
    radii = np.linalg.norm(points, norm, axis=1)
    assert radii.max() <= 0.5
    # L∞: of an even point of a cube in 3 dimensions, (r/ε)³ is even on [0, 1]. L2: r/ε itself is.
    assert np.allclose(
        np.quantile((radii / 0.5) ** (1 if norm == 2 else 3), (0.25, 0.5, 0.75)), (0.25, 0.5, 0.75), atol=0.03
    )
    assert np.abs(points.mean(0)).max() < 0.02


def test_a_gradient_of_zero_moves_nothing():
    network = nj.network(
        lambda x: jnp.stack([jnp.sum(jnp.maximum(-x - 5, 0), 1), jnp.sum(0 * x, 1) - 1], 1), batched=True
    )
    X = np.ones((3, 4))
    for attack, given in (
        (nj.attacks.fgsm, {"epsilon": 0.1}),
        (nj.attacks.fgsm, {"epsilon": 0.1, "norm": 2}),
        (nj.attacks.pgd, {"epsilon": 0.1, "random_start": False}),
        (nj.attacks.deepfool, {}),
        (nj.attacks.jsma, {"gamma": 1.0}),
    ):
        found = attack(network, X, np.zeros(3, int), **given)
        assert np.array_equal(found.raw, X)
        assert not found.success.any()
        assert not found.distance.any()


def test_a_sure_network_has_a_direction_all_the_same(net, X, y):
    """In float32 1 − p rounds to zero at margins of 20, the whole gradient at 100; the direction is what it was."""
    sure = Net((6, 8, 4), scale=2.0)
    W, b = sure.layers[-1]
    sure.layers[-1] = 300 * W, 300 * b
    found = nj.attacks.fgsm(sure.network(), X.astype(np.float32), y, epsilon=0.05)
    moved = found.raw - X.astype(np.float32)
    assert (np.abs(moved) > 0.04).all()
    # Of a sure network the nearest rival is all that counts.
    for x, c, change in zip(X, y, moved, strict=True):
        s, J = sure.scores(x), sure.jacobian(x)
        rival = np.argmax(np.where(np.arange(4) == c, -np.inf, s))
        apart = np.sort(s)[-2] - np.sort(s)[-3]
        if apart > 20:
            assert np.array_equal(np.sign(change), np.sign(J[rival] - J[c]))


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("attack", [nj.attacks.fgsm, nj.attacks.pgd])
def test_a_step_of_epsilon_from_a_large_input_counts_though_its_sum_is_rounded(attack, norm):
    """200 + 0.3 in float32 is 200.30000305."""
    W, b = np.array([[1, -1], [1, -1]], "float32"), np.array([0, 800.4], "float32")
    found = attack(
        nj.network(lambda x: x @ W + b, batched=True), np.full((1, 2), 200, "float32"), epsilon=0.3, norm=norm
    )
    assert found.predicted[0] != found.labels[0]
    assert found.success.all()
