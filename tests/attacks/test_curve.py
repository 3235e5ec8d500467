import numpy as np
import pytest

import netjac as nj
from tests.attacks.references import Net


@pytest.fixture(scope="module")
def setting():
    net = Net((9, 4))
    X = np.random.default_rng(2).standard_normal((40, 9))
    return net.network(), X, net.classes(X)


def test_of_an_affine_classifier_all_attacks_that_can_follow_the_exact_curve(setting):
    network, X, y = setting
    sizes = [0.02, 0.1, 0.3, 0.8]
    nearest = nj.attacks.deepfool(network, X, y, norm="inf", overshoot=0.0).distance
    exact = [(nearest < size).mean() for size in sizes]
    assert 0 < exact[0] < exact[-1]
    by_distance = nj.attacks.curve(
        network, X, y, epsilons=sizes, attack=nj.attacks.deepfool, norm="inf", overshoot=1e-6
    )
    assert np.allclose(by_distance.success, exact, atol=0.026)
    steps = nj.attacks.curve(network, X, y, epsilons=sizes[::-1], steps=60)
    assert np.array_equal(steps.epsilons, sizes)
    assert np.allclose(steps.success, exact, atol=0.026)
    once = nj.attacks.curve(network, X, y, epsilons=sizes, attack=nj.attacks.fgsm)
    assert (once.success <= steps.success).all()
    assert (np.diff(once.success) >= 0).all()


def test_it_reads_well_and_is_drawn(setting, tmp_path):
    network, X, y = setting
    made = nj.attacks.curve(network, X, y, epsilons=[0.1, 0.3], attack=nj.attacks.fgsm)
    assert "FGSM on 40 samples: success by ε (L∞)" in repr(made)
    assert f"{made.success[1]:.1%}" in repr(made)
    assert made.to_dict()["success"] == made.success.tolist()
    figure = made.plot(tmp_path / "curve.png")
    line = figure.axes[0].lines[0]
    assert np.allclose(line.get_ydata(), 100 * made.success)
    assert np.allclose(line.get_xdata(), [0.1, 0.3])
    assert (tmp_path / "curve.png").stat().st_size > 0
    two = nj.attacks.curve(network, X, y, epsilons=[0.5], attack=nj.attacks.deepfool)
    with pytest.raises(nj.ShapeError, match="several norms"):
        nj.attacks.plot_curves([made, two])


@pytest.mark.parametrize("sizes", [[], [0.0, 1.0], [np.inf]])
def test_sizes_that_are_none_are_refused(setting, sizes):
    network, X, y = setting
    with pytest.raises(nj.RangeError, match="epsilons"):
        nj.attacks.curve(network, X, y, epsilons=sizes)
    with pytest.raises(nj.UnknownNameError, match="jsma"):
        nj.attacks.curve(network, X, y, epsilons=[0.1], attack=nj.attacks.jsma)


def test_an_attack_reads_well(setting):
    network, X, y = setting
    found = nj.attacks.deepfool(network, X, y, epsilon=0.4)
    first, second = repr(found).splitlines()
    assert first == f"DeepFool, ε = 0.4: {found.success.sum()} of 40 samples misclassified ({found.success.mean():.1%})"
    assert f"median {np.median(found.distance[found.success]):.4g}" in second
    assert found.to_dict()["successes"] == found.success.sum()
    none = nj.attacks.deepfool(network, X, y, epsilon=1e-9)
    assert none.to_dict()["median distance"] is None
    assert "0 of 40" in repr(none)
