"""Sums over groups of samples give NumPy's moments, and intervals that cover as often as they say."""

from itertools import pairwise

import numpy as np
import pytest

from netjac.analysis.moments import Moments, Reservoir
from netjac.analysis.passes import Run


def fed(J, y=None, x=None, pieces=(), seed=0, groups=128):
    """The totals of Jacobians (N, m, n) that come in pieces."""
    N, m, n = J.shape
    y, x = np.zeros((N, m)) if y is None else y, np.zeros((N, n)) if x is None else x
    moments = Moments(m, n, min(groups, N), seed)
    edges = [0, *pieces, N]
    for start, stop in pairwise(edges):
        moments.add(Run(start, x[start:stop], y[start:stop], J[start:stop]))
    assert moments.count == N
    return moments.totals()


def interval(totals, name, draws=500):
    ends = [np.quantile(drawn, [0.025, 0.975], axis=0) for _, drawn in totals.replicates(name, draws, 0)]
    return np.concatenate(ends, 1)


def test_sums_over_groups_are_numpys_moments():
    rng = np.random.default_rng(0)
    J, y, x = rng.standard_normal((700, 2, 3)), rng.standard_normal((700, 2)), rng.standard_normal((700, 3))
    totals = fed(J, y, x, (3, 200, 201))
    assert np.allclose(totals.statistic("mean"), J.mean(0), rtol=1e-12)
    assert np.allclose(totals.statistic("std"), J.std(0), rtol=1e-12)
    assert np.allclose(totals.statistic("rms"), np.sqrt(np.mean(J**2, 0)), rtol=1e-12)
    assert np.allclose(totals.statistic("mean_abs"), np.abs(J).mean(0), rtol=1e-12)
    assert np.allclose(totals.variance, y.var(0), rtol=1e-12)
    assert np.allclose(totals.deviation, x.std(0), rtol=1e-12)
    assert np.array_equal([totals.low, totals.high], [x.min(0), x.max(0)])


def test_a_small_spread_about_a_large_mean_is_not_cancelled():
    J = (1e8 + np.random.default_rng(1).standard_normal((5000, 1, 1))).astype(np.float64)
    assert np.allclose(fed(J).statistic("std"), (J - 1e8).std(0), rtol=1e-9)
    assert fed(np.full((50, 1, 1), 0.1)).statistic("std") == 0


def test_a_first_sample_far_from_the_others_costs_few_digits():
    J = np.random.default_rng(2).standard_normal((10_000, 1, 1))
    J[0] = 1e6
    assert np.allclose(fed(J).statistic("std"), J.std(0), rtol=1e-10)


def test_with_fewer_samples_than_groups_it_is_efrons_bootstrap():
    J = np.random.default_rng(3).exponential(size=(40, 1, 1))
    drawn = next(fed(J).replicates("mean", 2000, 0))[1]
    again = np.random.default_rng(np.random.SeedSequence((0, 1))).multinomial(40, np.full(40, 1 / 40), 2000)
    assert np.allclose(drawn[:, 0], again @ J[:, 0, 0] / 40, rtol=1e-12)


@pytest.fixture(scope="module")
def many():
    """300 times 400 samples, J normal with mean 1 and deviation 2, Var y = 9."""
    rng = np.random.default_rng(4)
    J, y = 1 + 2 * rng.standard_normal((400, 300)), 3 * rng.standard_normal((400, 300))
    return [fed(J[:, k, None, None], y[:, k, None], seed=k) for k in range(300)]


@pytest.mark.parametrize(
    ("name", "true"), [("mean", 1), ("std", 2), ("rms", 5**0.5), ("mean_abs", 1.79119), ("dgsm_share", 5 / 9)]
)
def test_intervals_cover_about_as_often_as_they_say(many, name, true):
    ends = np.stack([interval(totals, name)[:, 0] for totals in many])
    assert 0.90 <= np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])) <= 0.985


def test_the_order_of_the_samples_does_not_narrow_the_intervals():
    J = np.random.default_rng(5).standard_normal((4000, 1, 1))
    expected = 2 * 1.96 / np.sqrt(4000)
    for order in (np.arange(4000), np.argsort(J[:, 0, 0]), np.argsort(np.arange(4000) % 128)):
        low, high = interval(fed(J[order]), "mean")[:, 0]
        assert 0.8 < (high - low) / expected < 1.2


def test_replicates_of_many_columns_are_those_of_each():
    J = np.random.default_rng(6).standard_normal((60, 3, 900))
    y = np.random.default_rng(7).standard_normal((60, 3))
    totals = fed(J, y)
    parts = list(totals.replicates("dgsm_share", 1000, 0))
    assert len(parts) > 1
    alone = next(fed(J[:, 2:, 899:], y[:, 2:]).replicates("dgsm_share", 1000, 0))[1]
    assert np.allclose(parts[-1][1][:, -1:], alone, rtol=1e-10)


def test_a_reservoir_is_a_uniform_choice_however_samples_come():
    J = np.arange(1000.0).reshape((1000, 1, 1))
    kept = []
    for pieces in ((0, 1000), (0, 10, 500, 501, 1000)):
        reservoir = Reservoir(200, 0)
        for start, stop in pairwise(pieces):
            reservoir.add(Run(start, J[start:stop, 0], J[start:stop, 0], J[start:stop]))
        kept.append(np.sort(reservoir.kept(1, 1).ravel()))
    assert np.array_equal(*kept)
    assert len(set(kept[0])) == 200
    assert np.histogram(kept[0], 4, (0, 1000))[0].min() > 30
