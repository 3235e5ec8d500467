import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import netjac as nj

W = np.random.default_rng(1).standard_normal((6, 5))
V = np.random.default_rng(2).standard_normal((5, 3))
X = np.random.default_rng(3).standard_normal((4, 6))
TALL = np.random.default_rng(4).standard_normal((400, 7))
WIDE = np.random.default_rng(5).standard_normal((300, 200)) / 20


def smooth(x):
    hidden = nj.mark(jnp.tanh(x @ W.astype(x.dtype)), "hidden")
    return hidden @ V.astype(x.dtype)


def spoiled(J, index, factor=1.0, plus=0.0):
    """J with some of its entries wrong."""
    entries = np.array(J)
    entries[index] = entries[index] * factor + plus
    J._dense = entries
    return J


NET = nj.network(smooth, batched=True)


@pytest.mark.parametrize(("dtype", "framework", "differences"), [("float64", 1e-13, 1e-8), ("float32", 1e-5, 1e-5)])
def test_a_right_jacobian_passes_closely(dtype, framework, differences):
    found = nj.check(NET, X.astype(dtype))
    assert found.passed
    assert found.framework_error < framework
    assert found.difference_error < differences
    assert found.entries >= 48
    assert found.kinks == 0
    assert "jax" in found.framework
    assert "right" in str(found)


def test_layers_are_checked_on_the_traced_network():
    for pair in ({"of": "hidden"}, {"wrt": "hidden"}, {"of": "output"}):
        found = nj.check(NET, X, **pair)
        assert found.passed
        assert found.difference_error < 1e-8


def test_a_wrong_row_is_found_with_its_place():
    J = spoiled(nj.jacobian(NET, X), (2, 1, 3), 1.01)
    found = J.check()
    assert not found.passed
    assert found.framework_where == (2, 1, 3)
    assert found.framework_error > found.framework_tolerance
    assert "J[2, 1, 3]" in str(found)
    assert "NOT" in str(found)


def test_differences_find_a_wrong_jacobian_by_themselves():
    J = spoiled(nj.jacobian(NET, X), 3, 1.001)
    found = J.check(samples=500)
    assert not found.passed
    assert found.difference_where[0] == 3
    assert 1e-5 < found.difference_error < 1e-2


def test_numbers_that_are_not_finite_never_pass():
    J = spoiled(nj.jacobian(NET, X), (0, 0, 0), np.nan)
    found = J.check(samples=500)
    assert not found.passed
    assert found.to_dict()["framework_error"] == "inf"


def test_a_relu_at_zero_is_a_kink_and_no_failure():
    x = np.array([0.0, 1.0, -2.0, 0.0, 3.0])
    found = nj.check(lambda x: jnp.maximum(x, 0) * 2, x)
    assert found.kinks == 2
    assert found.passed


def test_a_wrong_slope_at_a_kink_is_left_to_the_framework():
    found = spoiled(nj.jacobian(lambda x: jnp.maximum(x, 0), np.array([0.0, 1.0])), (0, 0), 0.0, 1.5).check()
    assert not found.passed
    assert found.framework_where == (0, 0)
    assert (found.kinks, found.difference_error < 1e-9) == (1, True)


def test_several_kinks_at_once_are_kinks_even_where_no_slope_lies_between():
    """With relu′(0) = 0 on both sides J = −3, and the slopes to the left and to the right are −1 and −2."""
    found = nj.check(lambda x: jnp.maximum(x, 0) - 2 * jnp.maximum(-x, 0) - 3 * x, np.array([0.0, 2.0]))
    assert (found.passed, found.kinks) == (True, 1)


def test_one_wrong_entry_among_many_is_found_by_the_products():
    J = nj.jacobian(lambda x: jnp.tanh(TALL @ x), np.linspace(-1, 1, 7))
    assert J.check().passed
    wrong = spoiled(J, (317, 4), 1.001).check()
    assert not wrong.passed
    assert wrong.framework_where == (317, 4)


def test_a_jacobian_too_large_for_memory_is_checked_by_sweeps():
    wide = nj.network(lambda x: jnp.tanh(x @ WIDE), batched=True)
    J = nj.jacobian(wide, np.random.default_rng(4).standard_normal((3, 300)), memory="1MiB")
    found = J.check()
    assert found.passed
    assert found.difference_error < 1e-8
    assert J._dense is None
    wrong = nj.jacobian(wide, np.ones((3, 300)), memory="1MiB")
    right = wrong._source.context.sweep
    wrong._source.context.sweep = lambda pair, direction, block: right(pair, direction, block) * 1.001
    assert not wrong.check().passed


def test_a_tie_in_a_maximum_is_a_kink():
    found = nj.check(lambda x: jnp.max(x, keepdims=True), np.array([1.0, 1.0, 0.5]))
    assert (found.passed, found.kinks) == (True, 2)


def test_great_curvature_is_no_kink():
    found = nj.check(lambda x: jnp.sin(300 * x), np.linspace(0.1, 0.9, 5), tolerance=1e-3)
    assert (found.passed, found.kinks) == (True, 0)


def test_networks_that_mix_samples_are_checked_whole():
    mixing = nj.network(lambda x: jnp.tanh(x - x.mean(0)), batched=True)
    J = nj.jacobian(mixing, X)
    assert J.batch is None
    assert J.check().passed
    wrong = spoiled(J, ..., 1.0, 1e-3).check()
    assert not wrong.passed
    assert len(wrong.framework_where) == 4


def test_samples_taken_out_refuse_a_check_with_the_way_out():
    with pytest.raises(nj.ShapeError, match="check the Jacobian of all"):
        nj.jacobian(NET, X)[1].check()


def test_the_frameworks_own_jacobian_refuses_a_check():
    with pytest.raises(nj.ShapeError, match="framework's own"):
        nj.jacobian(NET, X, engine="framework").check()


def test_several_outputs_ask_for_one():
    with pytest.raises(nj.ShapeError, match="'a', 'b'"):
        nj.check(lambda x: {"a": x, "b": 2 * x}, X)
    assert nj.check(lambda x: {"a": x, "b": jnp.sin(x)}, X, of="b").passed


def test_the_table_for_notebooks_escapes_names():
    told = nj.check(NET, X)._repr_html_()
    assert "<b>the Jacobian is right</b>" in told
    assert "&gt;" not in told


def test_parameters_are_checked_sample_by_sample():
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    x = torch.from_numpy(X.astype("float32"))
    for name in ("0.weight", "2.bias"):
        assert nj.check(model, x, wrt=name).passed
    J = nj.jacobian(model, x, wrt="0.weight")
    found = spoiled(J, 2, 1.1).check(samples=300)
    assert not found.passed
    assert found.difference_where[0] == 2
    assert "torch" in found.framework


def test_half_precision_is_checked_within_its_own_rounding():
    assert nj.check(NET, jnp.asarray(X, jnp.bfloat16)).passed
    J = nj.jacobian(NET, jnp.asarray(X, jnp.bfloat16))
    assert not spoiled(J, ..., 1.2).check().passed


def test_a_parameters_jacobian_is_checked_by_sample():
    model = jax.tree_util.Partial(lambda w, x: jnp.tanh(x @ w), jnp.asarray(W, jnp.float32))
    found = nj.jacobian(nj.network(model, batched=True), X, wrt="parameters")
    J = next(iter(found.values()))
    assert J.shape == (4, 5, 6, 5)
    assert J.check().passed
    wrong = spoiled(J, (2, 3, 1, 3), 1.01).check()
    assert not wrong.passed
    assert wrong.framework_where == (2, 3, 1, 3)


def test_a_network_in_float32_that_rounds_across_a_kink_passes():
    """In float32 the sum is exactly 1 and relu'(0) = 0; in float64 it lies just above."""
    x = np.array([1.0, 2e-8, 0.5], np.float32)
    found = nj.check(lambda x: jnp.maximum(x[0] + x[1] - 1, 0) * jnp.ones(2, x.dtype) + x[2], x)
    assert found.passed
    assert found.kinks == 4
