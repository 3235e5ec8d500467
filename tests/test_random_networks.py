"""Networks that Hypothesis makes up, against jax.jacrev in float64 and in every order."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import netjac as nj
from tests.oracles import jacrev, relative_error

CHANNELS, TOKENS = 4, 4


class Maker:
    """Builds layers on (batch, TOKENS, CHANNELS), each with weights of its own."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def weight(self, *shape):
        return self.rng.standard_normal(shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1)

    def dense(self):
        W, b = self.weight(CHANNELS, CHANNELS), self.weight(CHANNELS)
        return lambda h: jnp.tanh(h @ W + b)

    def wide(self):
        V, W = self.weight(CHANNELS, 9), self.weight(9, CHANNELS)
        return lambda h: jax.nn.gelu(h @ V) @ W

    def conv(self):
        K = self.weight(3, CHANNELS, CHANNELS)
        return lambda h: jax.nn.relu(
            lax.conv_general_dilated(h, K, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        )

    def pool(self):
        return lambda h: jnp.repeat(lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID"), 2, 1)

    def norm(self):
        g = self.weight(CHANNELS) + 2

        def layer(h):
            centred = h - h.mean(-1, keepdims=True)
            return g * centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 0.1)

        return layer

    def attention(self):
        Q, K, V = (self.weight(CHANNELS, CHANNELS) for _ in range(3))
        mask = np.tril(np.ones((TOKENS, TOKENS), bool))

        def layer(h):
            scores = jnp.where(mask, (h @ Q) @ jnp.swapaxes(h @ K, 1, 2), -1e9)
            return jax.nn.softmax(scores, -1) @ (h @ V)

        return layer

    def recurrent(self):
        W, U = self.weight(CHANNELS, CHANNELS), self.weight(CHANNELS, CHANNELS)

        def layer(h):
            def step(c, t):
                c = jnp.tanh(c @ U + t @ W)
                return c, c

            return jnp.swapaxes(lax.scan(step, jnp.zeros_like(h[:, 0]), jnp.swapaxes(h, 0, 1))[1], 0, 1)

        return layer


class Counting(Maker):
    """Makes weights and keeps them."""

    def __init__(self, seed):
        super().__init__(seed)
        self.made = []

    def weight(self, *shape):
        self.made.append(super().weight(*shape))
        return self.made[-1]


KINDS = ["dense", "wide", "conv", "pool", "norm", "attention", "recurrent"]
JOINS = ["chain", "residual", "branch", "shared"]


@dataclass(frozen=True)
class Structure:
    """What a made-up network is made of, apart from its weights."""

    parts: tuple[tuple[str, str, str], ...]
    outputs: int
    flat: bool
    batch: int

    def on(self, maker):
        """The network with the maker's weights."""
        parts = [(join, getattr(maker, a)(), getattr(maker, b)()) for join, a, b in self.parts]
        head = maker.weight(CHANNELS, self.outputs)

        def f(h):
            for join, a, b in parts:
                if join == "chain":
                    h = a(h)
                elif join == "residual":
                    h = h + a(h)
                elif join == "branch":
                    h = a(h) * b(h) + h
                else:
                    h = a(a(h))
            return h.reshape(h.shape[0], -1)[:, :6] if self.flat else h.mean(1) @ head

        return f


KIND = st.sampled_from(KINDS)
STRUCTURES = st.builds(
    Structure,
    st.lists(st.tuples(st.sampled_from(JOINS), KIND, KIND), min_size=1, max_size=4).map(tuple),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 3),
)


@st.composite
def networks(draw):
    structure, maker = draw(STRUCTURES), Maker(draw(st.integers(0, 99)))
    return structure.on(maker), maker.rng.standard_normal((structure.batch, TOKENS, CHANNELS))


@settings(max_examples=25)
@given(networks())
def test_a_made_up_network_agrees_with_jacrev_in_every_order(made):
    f, x = made
    full = jacrev(f, x)
    expected = np.stack([full[b, :, b] for b in range(len(x))])
    network = nj.network(f, batched=True)
    plans = {}
    for engine in ("auto", "forward", "reverse"):
        J = nj.jacobian(network, x, engine=engine)
        assert J.batch == len(x), J.structure
        assert relative_error(J, expected) < 1e-10, engine
        plans[engine] = J.plan
    assert plans["auto"].seconds <= min(plans["forward"].seconds, plans["reverse"].seconds) * (1 + 1e-12)


@settings(max_examples=10)
@given(networks())
def test_products_rows_and_columns_agree_with_the_dense_jacobian(made):
    f, x = made
    network = nj.network(f, batched=True)
    dense = np.asarray(nj.jacobian(network, x))
    J = nj.jacobian(network, x)
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(x.shape), rng.standard_normal(dense.shape[:2])
    assert relative_error(J @ v, np.einsum("botc,btc->bo", dense, v)) < 1e-10
    assert relative_error(u @ J, np.einsum("botc,bo->btc", dense, u)) < 1e-10
    assert relative_error(J.rows(0), dense[:, 0]) < 1e-10
    assert relative_error(J.columns((1, 2)), dense[:, :, 1, 2]) < 1e-10
