"""Dead units are left out: the same Jacobian from smaller products, whatever is dead, in plans of a bounded number."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netjac as nj
from netjac import alive, compiled
from netjac.factors.pattern import Pattern
from netjac.factors.product import multiply
from netjac.factors.selection import alive as cutting
from netjac.factors.selection import pick
from netjac.graph.key import Recent
from netjac.plan import alive as planning
from tests.oracles import dense, relative_error

RELU = jax.nn.relu
WIDE = (512, 1024, 1024, 512)
ACTIVATIONS = {
    "relu": RELU,
    "maximum": lambda z: jnp.maximum(0, z),
    "where": lambda z: jnp.where(z > 0, z, 0 * z),
    "clip": lambda z: jnp.clip(z, -0.3, 0.4),
    "relu6 scaled": lambda z: 1.5 * jax.nn.relu6(3 * z),
    "hard tanh": jax.nn.hard_tanh,
    "squared relu": lambda z: RELU(z) ** 2,
}


@pytest.fixture
def eager(monkeypatch):
    """Leaves out what it can, however small the network."""
    monkeypatch.setattr(compiled, "_PLANS", Recent(compiled.MOST_PLANS))
    monkeypatch.setattr(planning, "SMALLEST", 2)
    monkeypatch.setattr(alive, "TWO_STAGES", 0.0)
    monkeypatch.setattr(alive, "worth", lambda plan, plain: plan is not plain)


def mlp(widths, activation, bias=0.0, seed=0, last=True):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in itertools.pairwise(widths)]
    biases = [rng.normal(size=width) + bias for width in widths[1:]]

    def f(h):
        for k, (W, b) in enumerate(zip(weights, biases, strict=True)):
            h = h @ W + b
            h = activation(h) if last or k < len(weights) - 1 else h
        return h

    return f


def choice(J):
    return J._source.asked.compiled.choosing


def jacrev(f, x):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(jax.jacrev(f)))(jnp.asarray(x)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_activation_that_dies_is_cut_down(eager, activation, batch):
    f = mlp((7, 33, 40, 21, 5), ACTIVATIONS[activation], last=False)
    x = np.random.default_rng(1).normal(size=(batch, 7))
    J = nj.jacobian(nj.network(jax.vmap(f), batched=True), x)
    assert relative_error(np.asarray(J), jacrev(f, x)) < 1e-13
    (rooms,) = choice(J)._known
    assert len(rooms) == 3
    assert all(room <= width for (_, room), width in zip(rooms, (33, 40, 21), strict=True))


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(2, 40), min_size=3, max_size=6),
    batch=st.integers(1, 4),
    bias=st.sampled_from([-9.0, -1.0, 0.0, 1.0, 9.0]),
    seed=st.integers(0, 99),
    last=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_share_of_dead_units_gives_the_same_jacobian(widths, batch, bias, seed, last, dtype):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SMALLEST", 2)
        patch.setattr(alive, "TWO_STAGES", 0.0)
        patch.setattr(alive, "worth", lambda plan, plain: plan is not plain)
        patch.setattr(compiled, "_PLANS", Recent(compiled.MOST_PLANS))
        f = mlp(widths, RELU, bias, seed, last)
        x = np.random.default_rng(seed).normal(size=(batch, widths[0])).astype(dtype)
        y, J = nj.value_and_jacobian(nj.network(jax.vmap(f), batched=True), x)
        assert choice(J) is not None
        assert len(choice(J)._known) == 1
        expected = jacrev(f, x)
        assert np.linalg.norm(np.asarray(J) - expected) <= 8e-6 ** (1 + (dtype == "float64")) * np.linalg.norm(expected)
        np.testing.assert_allclose(y, jax.vmap(f)(x), rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 12), room=st.integers(0, 3), m=st.integers(1, 4), k=st.integers(1, 4), batch=st.integers(0, 3),
    own=st.tuples(st.booleans(), st.booleans()), seed=st.integers(0, 999),
)  # fmt: skip
def test_cutting_both_sides_of_a_scaling_leaves_the_product_as_it_is(n, room, m, k, batch, own, seed):
    rng = np.random.default_rng(seed)
    lead, sizes = ((0,),) if batch else (), (max(batch, 1), n, m, k)
    shape = (batch,) * bool(batch)
    own = [bool(batch) and mine for mine in own]
    s = rng.normal(size=(*shape, n)) * (rng.random((*shape, n)) < 0.5)
    scaling = Pattern((*lead, (1,)), (*lead, (1,)), (0, 1) if batch else (1,), sizes)
    above = Pattern((*lead, (2,)), (*lead, (1,)), (0, 2, 1) if own[0] else (2, 1), sizes)
    below = Pattern((*lead, (1,)), (*lead, (3,)), (0, 3, 1) if own[1] else (3, 1), sizes)
    with jax.enable_x64(True):
        a, b = (jnp.asarray(rng.normal(size=p.data_shape)) for p in (above, below))
        s = jnp.asarray(s)
        most = int((np.asarray(s) != 0).sum(-1).max())
        plan = cutting(scaling, 1, max(most + room, 1))
        assert int(plan.counts(s)) == most
        index, numbers = plan.apply(s)
        left, right = (pick(p, 1, plan.outer, max(most + room, 1)) for p in (above, below))
        a2, b2 = left.apply(a, index), right.apply(b, index)
        assert a2.shape == left.pattern.data_shape
        assert b2.shape == right.pattern.data_shape
        first = multiply(left.pattern, plan.pattern)
        second = multiply(first.pattern, right.pattern)
        got = dense(second.pattern, second.apply(first.apply(a2, numbers, s.dtype), b2, s.dtype))
        whole = multiply(above, scaling)
        expected = dense(*(lambda last: (last.pattern, last.apply(whole.apply(a, s, s.dtype), b, s.dtype)))(
            multiply(whole.pattern, below)
        ))  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_what_is_not_between_two_dense_factors_is_left_alone(eager):
    def residual(x):
        return x + RELU(x @ jnp.ones((9, 9)))

    x = np.random.default_rng(0).normal(size=(2, 9))
    J = nj.jacobian(nj.network(jax.vmap(residual), batched=True), x)
    assert choice(J) is None
    assert relative_error(np.asarray(J), jacrev(residual, x)) < 1e-13


def test_smooth_networks_and_forced_orders_and_small_ones_run_as_before():
    x = np.random.default_rng(0).normal(size=(1, 512)).astype("float32")
    assert choice(nj.jacobian(nj.network(jax.vmap(mlp(WIDE, RELU)), batched=True), x)) is not None
    assert choice(nj.jacobian(nj.network(jax.vmap(mlp(WIDE, jnp.tanh)), batched=True), x)) is None
    assert choice(nj.jacobian(nj.network(jax.vmap(mlp(WIDE, RELU)), batched=True), x, engine="reverse")) is None
    assert choice(nj.jacobian(nj.network(jax.vmap(mlp((512, 40, 4), RELU)), batched=True), x)) is None


def test_leaving_out_takes_fewer_operations_and_no_more_memory_and_explain_says_so():
    x = np.zeros((1, 512), "float32")
    J = nj.jacobian(nj.network(jax.vmap(mlp(WIDE, RELU)), batched=True), x)
    half = choice(J).half
    assert half.operations < 0.5 * J.plan.operations
    assert half.peak <= J.plan.peak
    assert half.count("alive") == 2
    assert half.count("pick") == 4
    assert "half of the units dead and left out" in str(J.plan)


def test_the_plans_for_different_shares_are_bounded(eager):
    net = nj.network(jax.vmap(mlp((4, 64, 64, 3), RELU, last=False)), batched=True)
    rng = np.random.default_rng(0)
    before = compiled.counts["traces"]
    for scale in np.linspace(-6, 6, 40):
        x = rng.normal(size=(1, 4)) + scale
        J = nj.jacobian(net, x)
        assert relative_error(np.asarray(J), jacrev(mlp((4, 64, 64, 3), RELU, last=False), x)) < 1e-12
    assert len(choice(J)._known) == alive.MOST_SIZES
    assert compiled.counts["traces"] - before <= alive.MOST_SIZES + 1


def test_a_network_whose_units_all_live_is_asked_a_few_times_only():
    leaky = mlp(WIDE, jax.nn.leaky_relu)
    net = nj.network(jax.vmap(leaky), batched=True)
    for k in range(alive.PATIENCE + 2):
        x = np.random.default_rng(k).normal(size=(1, 512)).astype("float32")
        J = nj.jacobian(net, x)
        assert relative_error(np.asarray(J), jacrev(leaky, x)) < 1e-5
    assert choice(J)._in_vain == alive.PATIENCE


def test_inside_a_jax_transformation_nothing_is_chosen(eager):
    f = mlp((4, 64, 64, 3), RELU, last=False)
    net = nj.network(jax.vmap(f), batched=True)
    x = np.random.default_rng(0).normal(size=(1, 4)).astype("float32")
    penalty = jax.grad(lambda v: (nj.jacobian(net, v).to_jax() ** 2).sum())(jnp.asarray(x))
    expected = jax.jit(jax.grad(lambda v: (jax.vmap(jax.jacrev(f))(v) ** 2).sum()))(jnp.asarray(x))
    np.testing.assert_allclose(penalty, expected, atol=1e-4)
