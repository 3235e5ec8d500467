"""Spectra from products alone, against all singular values by LAPACK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netjac as nj
from netjac.analysis.flow.spectrum import STEPS, FlowThresholds, Spectrum, joined, of_matrices, of_products
from tests.flow.models import chain, gaussian


def by_products(matrices):
    samples, m, n = matrices.shape
    return of_products(
        "y", ("x",), (m, n), samples, np.dtype("float64"),
        lambda v: np.einsum("smn,sn->sm", matrices, v), lambda u: np.einsum("smn,sm->sn", matrices, u),
    )  # fmt: skip


@given(m=st.integers(1, 30), n=st.integers(1, 30), rank=st.integers(0, 30), seed=st.integers(0, 99))
def test_small_matrices_have_all_their_singular_values_found_by_products(m, n, rank, seed):
    rng = np.random.default_rng(seed)
    matrices = rng.standard_normal((2, m, rank)) @ rng.standard_normal((2, rank, n))
    found, exact = by_products(matrices), of_matrices("y", ("x",), matrices)
    assert found.singular_values.shape == exact.singular_values.shape
    assert np.abs(found.singular_values - exact.singular_values).max() <= 1e-10 * max(exact.largest, 1)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (250, 250)])
def test_of_large_matrices_both_ends_are_bounded_from_within(shape):
    matrices = np.random.default_rng(0).standard_normal((3, *shape)) / np.sqrt(shape[0])
    found, exact = by_products(matrices), of_matrices("y", ("x",), matrices)
    assert found.singular_values.shape == (3, STEPS)
    assert not found.exact
    largest, expected = found.singular_values[:, 0], exact.singular_values[:, 0]
    assert (largest <= expected * (1 + 1e-12)).all()
    assert (largest >= 0.99 * expected).all()
    assert (found.singular_values[:, -1] >= exact.singular_values[:, -1] * (1 - 1e-10)).all()
    assert found.condition <= exact.condition
    assert "at most" in repr(found)
    # Hutchinson's estimate is unbiased: within a few standard errors.
    assert (np.abs(found.root_mean_square - exact.root_mean_square) < 5 * found.error).all()
    assert (found.error < 0.05 * exact.root_mean_square).all()


def test_an_isometry_is_told_by_products():
    matrices = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 120, 120)))[0]
    found = by_products(matrices)
    assert np.abs(found.singular_values - 1).max() < 1e-12
    assert found.verdict(FlowThresholds()) == "isometric"


@pytest.mark.parametrize("of", ["h0", "h2"])
def test_large_layers_by_sweeps_agree_with_small_ones_by_matrices(of):
    network = chain(gaussian(1.0, depth=3, width=20), "tanh")
    x = np.random.default_rng(2).standard_normal((4, 20))
    exact, iterated = nj.gradient_flow(network, x, of=of), nj.gradient_flow(network, x, of=of, exact=5)
    assert not iterated.whole.exact
    for one, other in zip(exact.layers, iterated.layers, strict=True):
        pairs = [(one.own, other.own)] + ([(one.through, other.through)] if one.through else [])
        for a, b in pairs:
            assert np.abs(a.singular_values - b.singular_values).max() < 1e-12
    assert np.abs(exact.whole.singular_values - iterated.whole.singular_values).max() < 1e-12


def test_verdicts_follow_the_thresholds():
    def verdict(values, **bounds):
        return of_matrices("y", ("x",), np.diag(values)[None]).verdict(FlowThresholds(**bounds))

    assert verdict([1.0, 0.5, 2.0]) == "isometric"
    assert verdict([1.0, 0.5, 2.1]) == "moderate"
    assert verdict([1.0, 0.005]) == "ill-conditioned"
    assert verdict([1.0, 0.005], ill_conditioned=1000.0) == "moderate"
    assert verdict([0.05, 0.09]) == "vanishing"
    assert verdict([9.0, 12.0]) == "exploding"
    assert verdict([0.0, 0.0]) == "dead"
    assert verdict([np.nan, 1.0]) == "not finite"
    assert verdict([1.0, 1e-17]) == "ill-conditioned"  # below what float64 tells from zero
    assert "rms σ < 0.1" in str(FlowThresholds())


def test_equal_matrices_and_runs_of_samples_give_what_each_gives_alone():
    one, two = np.random.default_rng(0).standard_normal((2, 4, 6))
    whole = of_matrices("y", ("x",), np.stack([one, one, two]))
    parts = joined([of_matrices("y", ("x",), np.stack([one, one])), of_matrices("y", ("x",), two[None])])
    assert isinstance(parts, Spectrum)
    assert np.array_equal(whole.singular_values, parts.singular_values)
    assert np.array_equal(whole.root_mean_square, parts.root_mean_square)
    assert whole.rms == pytest.approx(np.sqrt((2 * np.sum(one**2) + np.sum(two**2)) / 12))
