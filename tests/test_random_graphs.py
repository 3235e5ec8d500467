"""Networks of random blocks on vectors, tokens and images, joints within joints: J is JAX's own, in every order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import netjac as nj
from netjac.pieces import Request, setting_of
from netjac.plan.eliminate import Linearised
from netjac.plan.search import search
from netjac.tracing import meet
from tests.jax_networks import random_network
from tests.oracles import relative_error

TIGHT = 1e-10
seeds = st.integers(0, 10**6)
vectors = st.sampled_from([(1,), (3,), (5,)])
tokens = st.sampled_from([(3, 4), (1, 5), (4, 1)])
images = st.sampled_from([(4, 5, 2), (6, 6, 1), (5, 3, 3)])


def per_sample_oracle(f, x):
    """(B, *out, *in) by jax.jacrev, one sample at a time and so blind to any coupling between them."""
    with jax.enable_x64(True):
        one = lambda v: f(v[None])[0]  # noqa: E731
        return np.asarray(jax.jit(jax.vmap(jax.jacrev(one)))(jnp.asarray(x)))


def holds(seed, shape, length, batch):
    f, out = random_network(seed, shape, length)
    x = np.random.default_rng(seed).standard_normal((batch, *shape))
    expected = per_sample_oracle(f, x)
    net = nj.network(lambda x: f(x), batched=True)
    for engine in ("auto", "forward", "reverse"):
        J = nj.jacobian(net, x, engine=engine)
        assert J.shape == (batch, *out, *shape)
        assert J.structure.per_sample, J.structure
        assert J.dtype == np.float64
        assert relative_error(J, expected) < TIGHT, engine


@settings(max_examples=6)
@given(seeds, vectors, st.integers(1, 5), st.integers(1, 3))
def test_a_random_net_on_vectors(seed, shape, length, batch):
    holds(seed, shape, length, batch)


@settings(max_examples=8)
@given(seeds, tokens, st.integers(1, 4), st.integers(1, 3))
def test_a_random_net_on_tokens(seed, shape, length, batch):
    holds(seed, shape, length, batch)


@settings(max_examples=8)
@given(seeds, images, st.integers(1, 4), st.integers(1, 2))
def test_a_random_net_on_images(seed, shape, length, batch):
    holds(seed, shape, length, batch)


@settings(max_examples=4)
@given(seeds, st.one_of(vectors, tokens), st.integers(1, 4))
def test_a_random_net_through_the_drop_in_and_by_products(seed, shape, length):
    f, _ = random_network(seed, shape, length)
    x = np.random.default_rng(seed).standard_normal((2, *shape))
    with jax.enable_x64(True):
        expected = np.asarray(jax.jit(jax.jacrev(f))(jnp.asarray(x)))
        assert relative_error(jax.jit(nj.jacobian_function(f))(jnp.asarray(x)), expected) < TIGHT
    J = nj.jacobian(lambda x: f(x), x)
    v, u = np.random.default_rng(1).standard_normal(x.shape), np.random.default_rng(2).standard_normal(J.out_shape)
    assert relative_error(J @ v, np.tensordot(expected, v, len(x.shape))) < TIGHT
    assert relative_error(u @ J, np.tensordot(u, expected, len(u.shape))) < TIGHT


def plans(net, x):
    """The plan chosen, and those of the two plain orders, all by the planner's own account."""
    point = meet(net, x)
    request = Request(("output",), ("x",))
    question = request.at(point)
    setting = setting_of(point, question.of[0])
    linearised = Linearised(point.traced.program)
    return [search(linearised, question, setting, engine) for engine in ("auto", "forward", "reverse")]


@settings(max_examples=150)
@given(seeds, st.one_of(vectors, tokens, images), st.integers(1, 6), st.integers(1, 3))
def test_the_plan_never_takes_more_operations_than_plain_forward_or_reverse_mode(seed, shape, length, batch):
    f, _ = random_network(seed, shape, length)
    net = nj.network(lambda x: f(x), batched=True)
    x = np.random.default_rng(seed).standard_normal((batch, *shape), np.float32)
    chosen, forward, reverse = plans(net, x)
    fewest = min(other.operations for other in chosen.alternatives if other.name.startswith("plain"))
    assert chosen.operations <= fewest
    assert all(chosen.seconds <= plan.seconds for plan in (forward, reverse) if plan.operations <= fewest)
    assert chosen.order in ("forward", "reverse", "cut", "greedy")


@settings(max_examples=3)
@given(seeds, st.one_of(tokens, images), st.integers(1, 3))
def test_a_mean_over_the_batch_anywhere_makes_the_whole_net_one_jacobian(seed, shape, length):
    head, middle = random_network(seed, shape, length)
    tail, _ = random_network(seed + 1, middle, 1)
    f = lambda x: tail((lambda h: h - h.mean(0))(head(x)))  # noqa: E731
    x = np.random.default_rng(seed).standard_normal((2, *shape))
    J = nj.jacobian(nj.network(f, batched=True), x)
    assert J.batch is None
    assert not J.structure.per_sample
    with jax.enable_x64(True):
        assert relative_error(J, np.asarray(jax.jit(jax.jacrev(f))(jnp.asarray(x)))) < TIGHT
