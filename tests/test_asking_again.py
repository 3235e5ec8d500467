"""The same question at the next input is answered by one look; whatever has changed is noticed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from netjac.compiled import counts
from netjac.networks import Network

W = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")


@pytest.fixture
def net() -> Network:
    return nj.network(lambda x: jnp.tanh(x @ W), batched=True)


def expected(x):
    return np.asarray(jax.jit(jax.vmap(jax.jacrev(lambda row: jnp.tanh(row @ W))))(x))


def inputs(count, dtype="float32", batch=4):
    return [np.random.default_rng(k).normal(size=(batch, 3)).astype(dtype) for k in range(count)]


def test_each_input_has_its_own_jacobian_and_keeps_it(net):
    first, second = inputs(2)
    J, K = nj.jacobian(net, first), nj.jacobian(net, second)
    np.testing.assert_allclose(K, expected(second), rtol=1e-6)
    np.testing.assert_allclose(J, expected(first), rtol=1e-6)
    assert net.last.asked.values is None
    assert not net.last.asked.arrays
    assert not net.last.asked.point.arrays


def test_asking_again_plans_and_traces_nothing(net):
    for x in inputs(1):
        np.asarray(nj.jacobian(net, x))
    before = dict(counts)
    for x in inputs(5):
        np.asarray(nj.jacobian(net, x))
    assert counts == before


def test_a_nan_is_found_the_second_time_too(net):
    good, bad = inputs(2)
    nj.jacobian(net, good)
    bad[1, 2] = np.nan
    with pytest.raises(nj.NonFiniteError, match=r"nan at index \(1, 2\)"):
        nj.jacobian(net, bad)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "forward"},
        {"precision": "default"},
        {"wrt": ["x"]},
        {"of": ["output"]},
        {"memory": "1GiB"},
    ],
)
def test_another_question_is_another(net, change):
    x = inputs(1)[0]
    nj.jacobian(net, x)
    found = nj.jacobian(net, x, **change)
    while isinstance(found, dict):
        found = next(iter(found.values()))
    np.testing.assert_allclose(found, expected(x), rtol=1e-6)
    assert found.plan.order == change.get("engine", found.plan.order)


def test_another_shape_or_dtype_is_met_anew(net):
    for x in (*inputs(1), *inputs(1, batch=2), *inputs(1, "float64"), *inputs(1)):
        J = nj.jacobian(net, x)
        assert J.shape == (len(x), 2, 3)
        assert J.dtype == x.dtype
    with jax.enable_x64(True):
        assert nj.jacobian(net, inputs(1)[0]).dtype == np.float32


def test_wide_numbers_asked_for_in_between_are_not_narrowed(net):
    x = inputs(1, "float64")[0]
    nj.jacobian(net, x)
    np.testing.assert_allclose(nj.jacobian(net, x), expected64(x), rtol=1e-13)


def expected64(x):
    with jax.enable_x64(True):
        return np.asarray(
            jax.jit(jax.vmap(jax.jacrev(lambda row: jnp.tanh(row @ W.astype("float64")))))(jnp.asarray(x))
        )


def test_a_tree_given_in_between_does_not_confuse(net):
    takes = nj.network(lambda state: jnp.sin(state["a"]) if isinstance(state, dict) else jnp.cos(state), batched=True)
    x = inputs(1)[0]
    for _ in range(2):
        np.testing.assert_allclose(nj.jacobian(takes, x).diagonal(), -np.sin(x), rtol=1e-5)
        np.testing.assert_allclose(nj.jacobian(takes, {"a": x}).diagonal(), np.cos(x), rtol=1e-5)
