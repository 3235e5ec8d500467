"""Which networks may be taken a few samples at a time: those in which no sample's value depends on another's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from netjac.tracing import meet
from tests.jax_networks import random_network
from tests.oracles import jacrev, per_sample, relative_error

RNG = np.random.default_rng(0)
W, TABLE = RNG.standard_normal((6, 5)), RNG.standard_normal((9, 6))


def squeezed(x):
    """A while loop that turns until every entry is small."""
    return lax.while_loop(lambda c: jnp.abs(c).max() > 0.5, lambda c: c / 2, x)


def _heads(x, f):
    """(batch, 6) as 3 tokens of 2 heads of one number, a head of a sample an entry of axis 0, as torch's attention has it."""
    tokens = x.reshape(-1, 3, 2).swapaxes(0, 1).reshape(3, -1, 1).swapaxes(0, 1)
    made = f(tokens)
    return made.reshape(-1, 2, *made.shape[1:]).swapaxes(1, 2).reshape(len(x) * 3, -1).reshape(len(x), -1)


APART = {
    "relu": lambda x: jax.nn.relu(x @ W),
    "gelu": lambda x: jax.nn.gelu(x @ W),
    "argmax": lambda x: x * (jnp.argmax(x, -1)[:, None] > 2),
    "compared with the largest": lambda x: x * (x == x.max(-1, keepdims=True)),
    "sort": lambda x: jnp.sort(x, -1) * x,
    "taken by its own order": lambda x: jnp.take_along_axis(x, jnp.argsort(x, -1), -1),
    "top k": lambda x: lax.top_k(x, 2)[0],
    "scan": lambda x: lax.scan(lambda c, t: (jnp.tanh(c + t), c * t), jnp.zeros(x.shape[0]), x.T)[1].T,
    "rounded and counted": lambda x: x * jnp.round(x).astype(int).sum(1, keepdims=True),
    "softmax": lambda x: jax.nn.softmax(x, -1) @ jnp.ones((6, 2)),
    "norm": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "where": lambda x: jnp.where(x > 0, x, jnp.expm1(x)),
    "zeros that a loop starts from and a state that sees no sample": lambda x: (
        lax.scan(
            lambda c, t: ((jnp.tanh(c[0] + t) * c[1], jnp.cos(c[1])), None),
            (jnp.zeros_like(x), jnp.ones_like(x)),
            jnp.ones(3),
        )[0][0]
        * x
    ),
    "one row for all samples": lambda x: x * jnp.broadcast_to(jnp.arange(6.0), x.shape),
    "an array of equal rows": lambda x: x + np.ones((4, 6))[: len(x)] * np.arange(6),
    "words": lambda x: jnp.asarray(TABLE)[jnp.abs(x).astype(int) % 9].sum(1) * x,
    "folded with another axis and parted": lambda x: _heads(x, lambda h: jnp.einsum("bij,bkj->bik", h, jnp.sin(h))),
}
TOGETHER = {
    "a mean that is not differentiated": lambda x: jnp.tanh(x - lax.stop_gradient(x.mean(0))),
    "argmax over the batch": lambda x: x * (jnp.argmax(x, 0) > 1),
    "sort over the batch": lambda x: jnp.sort(x, 0),
    "rounded and counted over the batch": lambda x: x * jnp.round(x).astype(int).sum(0),
    "a loop as long as the worst sample takes": squeezed,
    "a branch by the sum": lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
    "folded, and mixed within the fold": lambda x: _heads(x, lambda h: h - h[::-1]),
    "folded, and parted at another place": lambda x: x.swapaxes(0, 1).reshape(-1, x.shape[0]).reshape(x.shape) * 2.0,
    "folded, and parted the other way": lambda x: x.reshape(-1).reshape(x.shape[1], -1).T,
    "numbered": lambda x: x * jnp.arange(len(x))[:, None],
    "numbered in a custom derivative": lambda x: jax.nn.relu(x * jax.nn.relu(jnp.arange(len(x)) - 1.0)[:, None]),
    "the first two are treated otherwise": lambda x: jnp.where(jnp.arange(len(x))[:, None] < 2, x, jnp.sin(x)),
    "noise drawn for the batch": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "a state that counts the samples": lambda x: lax.scan(
        lambda c, t: (c + jnp.arange(4.0)[: len(x), None], c * t),
        jnp.zeros((len(x), 1)),
        jnp.swapaxes(x[:, :, None], 0, 1),
    )[1][-1],
    "written for four samples": lambda x: jnp.sin(x.reshape(4, 6)),
    "written for four samples, silently": lambda x: jnp.sin(x.reshape(4, -1)),
    "shifted by one": lambda x: jnp.roll(x, 1, 0) * x,
}


def known_apart(f, x):
    point = meet(nj.network(f, batched=True), x)
    return point.apart(next(iter(point.traced.outputs.values())))


@pytest.mark.parametrize("name", APART)
def test_samples_that_do_not_see_each_other_are_known_to(name):
    f, x = APART[name], RNG.standard_normal((4, 6))
    assert known_apart(f, x)
    with jax.enable_x64(True):
        np.testing.assert_allclose(f(jnp.asarray(x))[1:3], f(jnp.asarray(x[1:3])), rtol=1e-12)


@pytest.mark.parametrize("name", TOGETHER)
def test_samples_that_see_each_other_are_never_parted(name):
    assert not known_apart(TOGETHER[name], RNG.standard_normal((4, 6)))


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_are_apart_and_a_batch_mean_that_is_not_differentiated_joins_them(seed):
    f, _ = random_network(seed, (5, 3), 4)
    x = RNG.standard_normal((3, 5, 3))
    assert known_apart(f, x)
    assert not known_apart(lambda x: f(x) * lax.stop_gradient(f(x).mean(0)), x)


class Centred:
    """A network that takes the mean over its batch between its two layers."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def __call__(self, x):
        h = jnp.tanh(x @ self.first)
        return (h - h.mean(0)) @ self.second


jax.tree_util.register_pytree_with_keys(
    Centred,
    lambda m: (((jax.tree_util.GetAttrKey("first"), m.first), (jax.tree_util.GetAttrKey("second"), m.second)), None),
    lambda _, leaves: Centred(*leaves),
)


def test_a_small_memory_budget_does_not_change_what_samples_see():
    """Taken a few samples at a time, the mean would be another one."""
    rng = np.random.default_rng(0)
    model = Centred(rng.standard_normal((16, 60)), rng.standard_normal((60, 8)))
    x = rng.standard_normal((40, 16))
    network = nj.network(model, batched=True)
    whole = nj.jacobian(network, x, wrt="first")
    budget = whole.to_numpy().nbytes + whole.plan.peak // 2
    np.testing.assert_allclose(nj.jacobian(network, x, wrt="first", memory=budget), whole, rtol=1e-12, atol=1e-14)


def test_one_samples_sparse_jacobian_is_that_of_its_batch():
    def f(x):
        padded = jnp.pad(x, ((0, 0), (1, 1)))
        return jnp.tanh(padded[:, 2:] - 2 * padded[:, 1:-1] + padded[:, :-2] - lax.stop_gradient(x.mean()))

    numbered = lambda x: jnp.sin(x) * jnp.arange(len(x))[:, None]  # noqa: E731
    of_five = lambda x: jnp.sin(x.reshape(5, 12))  # noqa: E731
    x = RNG.standard_normal((5, 12))
    for g in (f, numbered, of_five):
        J = nj.jacobian(nj.network(g, batched=True), x)
        expected = per_sample(jacrev(g, x), 2)
        assert relative_error(J, expected) < 1e-13
        assert relative_error(J[3].to_scipy().toarray(), expected[3]) < 1e-13
        assert J.structure.kind in ("stencil", "diagonal")


def test_a_formula_of_a_function_written_for_so_many_samples_says_so():
    with pytest.raises(nj.ShapeError, match="takes 4 samples but not 1 of them"):
        nj.formula(nj.network(lambda x: jnp.sin(x.reshape(4, 6)), batched=True), RNG.standard_normal((4, 6)))


def test_a_weight_as_long_as_the_batch_is_no_axis_of_samples():
    model = Centred(RNG.standard_normal((4, 6)), RNG.standard_normal((6, 4)))
    assert not known_apart(model, RNG.standard_normal((4, 4)))
    linear = jax.tree_util.Partial(lambda w, x: jnp.tanh(x @ w) @ w, RNG.standard_normal((4, 4)))
    assert known_apart(linear, RNG.standard_normal((4, 4)))
