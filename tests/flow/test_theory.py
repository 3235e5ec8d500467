"""What theory says of deep networks, at depth 50 and width 256, and the numbers against explicit products in NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.compiled import counts
from tests.flow.models import DEPTH, WIDTH, by_hand, chain, gaussian, onwards, orthogonal, sigma

X = np.random.default_rng(1).standard_normal((2, WIDTH))


def compiled_for(make):
    before = dict(counts)
    found = make()
    return found, {name: counts[name] - before[name] for name in counts}


@pytest.fixture(scope="module")
def vanishing():
    weights = gaussian(0.5)
    return weights, *compiled_for(lambda: nj.gradient_flow(chain(weights, "tanh"), X))


@pytest.fixture(scope="module")
def kaiming():
    weights = gaussian(np.sqrt(2))
    return weights, *compiled_for(lambda: nj.gradient_flow(chain(weights, "relu"), X[:1]))


def test_orthogonal_weights_are_isometric_with_every_singular_value_1():
    flow = nj.gradient_flow(chain(orthogonal(), "linear"), X)
    assert flow.verdict == "isometric"
    assert {layer.verdict for layer in flow.layers} == {"isometric"}
    assert len(flow.layers) == DEPTH
    for spectrum in (flow.whole, *(a.own for a in flow.layers), *(a.through for a in flow.layers)):
        assert spectrum.exact
        assert spectrum.singular_values.shape == (2, WIDTH)
        assert np.abs(spectrum.singular_values - 1).max() < 1e-12


def test_tanh_with_small_weights_vanishes_and_each_layer_says_where(vanishing):
    _, flow, _ = vanishing
    assert flow.verdict == "vanishing"
    # Each layer halves the gradient at most: four layers before the output it is above a tenth, earlier it is not.
    assert [layer.verdict == "vanishing" for layer in flow.layers] == [True] * 46 + [False] * 4
    assert all(0.3 < layer.own.rms < 0.51 for layer in flow.layers)
    assert flow.whole.rms < 1e-13


@pytest.mark.parametrize("layer", [0, 24, 49])
def test_tanh_spectra_are_those_of_explicit_products(vanishing, layer):
    weights, flow, _ = vanishing
    for sample, x in enumerate(X):
        own = by_hand(weights, "tanh", x)
        ends = onwards(own)
        found = flow.layers[layer]
        assert np.abs(found.own.singular_values[sample] - sigma(own[layer])).max() < 1e-13
        expected = sigma(ends[layer + 1])
        assert np.abs(found.through.singular_values[sample] - expected).max() < 1e-12 * expected[0]
        assert found.through.root_mean_square[sample] == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-11)
        whole = sigma(ends[0])
        assert np.abs(flow.whole.singular_values[sample] - whole).max() < 1e-12 * whole[0]


def test_large_weights_explode():
    weights = gaussian(2.0)
    flow = nj.gradient_flow(chain(weights, "linear"), X)
    assert flow.verdict == "exploding"
    assert flow.layers[0].verdict == "exploding"
    assert flow.whole.rms == pytest.approx(np.linalg.norm(np.linalg.multi_dot(weights)) / np.sqrt(WIDTH), rel=1e-11)
    # The mean square grows by 4 a layer: 4⁵⁰, but for the luck of the draw.
    assert np.log(flow.whole.rms**2) == pytest.approx(50 * np.log(4), abs=2)


def test_relu_with_he_weights_keeps_the_mean_square_and_is_ill_conditioned(kaiming):
    weights, flow, _ = kaiming
    own = by_hand(weights, "relu", X[0])
    assert np.mean([layer.own.rms**2 for layer in flow.layers]) == pytest.approx(1, abs=0.05)
    assert 0.2 < flow.whole.rms**2 < 5
    assert flow.verdict == "ill-conditioned"
    assert flow.whole.condition == np.inf
    assert np.abs(flow.layers[7].own.singular_values[0] - sigma(own[7])).max() < 1e-13
    expected = sigma(onwards(own)[0])
    assert np.abs(flow.whole.singular_values[0] - expected).max() < 1e-12 * expected[0]


def test_dead_units_are_those_whose_slope_is_zero_at_the_only_sample(kaiming):
    weights, flow, _ = kaiming
    for layer, J in zip(flow.layers, by_hand(weights, "relu", X[0]), strict=True):
        assert layer.units == WIDTH
        assert layer.dead == pytest.approx(np.mean(~J.any(1)))


def test_biases_at_minus_ten_are_reported_dead_layer_by_layer():
    flow = nj.gradient_flow(chain(gaussian(np.sqrt(2)), "relu", bias=-10.0), X)
    assert flow.verdict == "dead"
    assert [layer.verdict for layer in flow.layers] == ["dead"] * DEPTH
    assert [layer.dead for layer in flow.layers] == [1.0] * DEPTH
    assert flow.whole.largest == 0


def test_fifty_equal_layers_are_planned_once_and_compiled_a_handful_of_times(vanishing, kaiming):
    for _, _, made in (vanishing, kaiming):
        # At two samples, where they are shown not to see each other, and at as many as are looked at.
        assert made["plans"] <= 2
        # The values, the layers' own Jacobian, the output by all layers, the units.
        assert made["traces"] <= 4


def test_a_layer_before_a_dead_one_gets_no_gradient_but_is_not_dead_itself():
    weights = gaussian(np.sqrt(2), depth=3, width=8)

    def net(x):
        x = nj.mark(np.asarray(weights[0]).T @ x, "alive")
        x = nj.mark(jnp.maximum(x - 100, 0), "killer")
        return nj.mark(np.asarray(weights[1]).T @ x, "last")

    flow = nj.gradient_flow(net, X[0, :8])
    assert [layer.verdict for layer in flow.layers] == ["vanishing", "dead", "isometric"]
    assert flow.verdict == "dead"


def test_a_gradient_too_small_for_the_dtype_has_vanished_and_is_not_called_dead():
    weights = gaussian(0.002, depth=20, width=8)
    flow = nj.gradient_flow(chain(weights, "linear"), X[:, :8].astype("float32"))
    assert flow.whole.largest == 0
    assert flow.verdict == "vanishing"
    assert nj.gradient_flow(chain(weights, "linear"), X[:, :8]).whole.rms > 0


def test_what_overflows_is_not_finite_rather_than_a_number():
    flow = nj.gradient_flow(chain(gaussian(300.0, depth=20, width=8), "linear"), X[:, :8].astype("float32"))
    assert flow.verdict == "not finite"
    assert np.isnan(flow.whole.singular_values).all()
