"""Softmaxes and norms over boxes: nothing escapes, they are known however they are written, and a likeness is not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import netjac as nj
from netjac.certified.bounds import boxes_of
from netjac.certified.interval import Interval
from netjac.certified.norm_patterns import norm, spread
from netjac.certified.normalisation import Scale, _values
from netjac.certified.patterns import softmax
from tests.certified.test_bounds import jacobians

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 5))
X = RNG.standard_normal((6, 4))
CAUSAL = np.where(np.arange(5) < 3, 0.0, -np.inf)


def shared(u):
    e = jnp.exp(u)
    return e / e.sum(-1, keepdims=True)


SOFTMAXES = {
    "share": jax.nn.softmax,
    "log share": jax.nn.log_softmax,
    "log sum": lambda u: jax.nn.logsumexp(u, -1, keepdims=True),
    "log sum without a shift": lambda u: jnp.log(jnp.exp(u).sum(-1))[:, None],
    "written by hand": shared,
    "written by hand, twice": lambda u: jnp.exp(u) / jnp.exp(u).sum(-1, keepdims=True),
    "over another axis": lambda u: jax.nn.softmax(jnp.stack([u, -u, 2 * u], 1), 1)[:, 0],
    "over two axes": lambda u: jax.nn.softmax(jnp.stack([u, -u], 1), (1, 2))[:, 1],
    "one class": lambda u: jax.nn.softmax(u[:, :1]),
    "two classes": lambda u: jax.nn.softmax(u[:, :2]),
    "equal logits": lambda u: jax.nn.softmax(0 * u) + u,
    "masked by a choice": lambda u: jax.nn.softmax(jnp.where(CAUSAL == 0, u, -jnp.inf)),
    "masked by adding": lambda u: jax.nn.softmax(u + CAUSAL),
    "masked by a large number": lambda u: jax.nn.softmax(jnp.where(CAUSAL == 0, u, -1e9)),
    "huge logits": lambda u: jax.nn.softmax(1e4 * u),
    "temperature": lambda u: jax.nn.softmax(u / 0.3 + 2),
}


def centred(x):
    return x - x.mean(-1, keepdims=True)


def mean_square(x):
    return jnp.square(x).mean(-1, keepdims=True)


NORMS = {
    "layer": lambda u: centred(u) * jax.lax.rsqrt(mean_square(centred(u)) + 1e-5),
    "layer without ε": lambda u: centred(u) / jnp.sqrt(mean_square(centred(u))),
    "layer with its own gains": lambda u: centred(u) / jnp.sqrt(mean_square(centred(u)) + 0.1) * u + 2 * u,
    "layer of one": lambda u: centred(u[:, :1]) / jnp.sqrt(mean_square(centred(u[:, :1])) + 0.1) + u,
    "layer of two": lambda u: centred(u[:, :2]) / jnp.sqrt(mean_square(centred(u[:, :2])) + 0.1),
    "rms": lambda u: u / jnp.sqrt(mean_square(u) + 1e-6),
    "rms of one": lambda u: u[:, :1] / jnp.sqrt(mean_square(u[:, :1]) + 0.1),
    "unit length": lambda u: u * jax.lax.rsqrt((u * u).sum(-1, keepdims=True) + 0.01),
}


def seen(net, at, x, r, tolerance):
    """Lower and upper ends of what points and corners of the boxes show, none of it outside the bounds."""
    lower, upper = nj.bounds(net, x, r)
    least, most, rng = np.full(lower.shape, np.inf), np.full(lower.shape, -np.inf), np.random.default_rng(1)
    for turn in range(80):
        place = rng.choice((-1, 1), x.shape) if turn % 2 else rng.uniform(-1, 1, x.shape)
        J = at(x + r * place).reshape(lower.shape)
        assert (lower - tolerance <= J).all()
        assert (upper + tolerance >= J).all()
        least, most = np.minimum(least, J), np.maximum(most, J)
    return lower, upper, least, most


@pytest.mark.parametrize("name", [*SOFTMAXES, *NORMS])
def test_no_point_or_corner_of_a_box_escapes(name):
    rule = {**SOFTMAXES, **NORMS}[name]

    def f(x):
        return rule(x @ W)

    at, net = jacobians(f, X), nj.network(f, batched=True)
    rounding = 1e-12 * (1e4 if name == "huge logits" else 1.0)  # J itself is as wrong as its logits are
    for r in (0.0, 0.01, 0.2, 1.0, 8.0):
        lower, upper, _, _ = seen(net, at, X, r, 1e-12 * np.abs(at(X)).max() + rounding * (name == "huge logits"))
        if r == 0:
            assert (upper - lower).max() <= 1e-11 * max(np.abs(at(X)).max(), 1) + rounding
        elif name in SOFTMAXES:
            assert np.isfinite(upper - lower).all()


@pytest.mark.parametrize(
    "name", ["share", "log share", "log sum", "written by hand", "masked by adding", "temperature"]
)
def test_a_softmax_is_at_most_twice_as_wide_as_what_is_seen(name):
    def f(x):
        return SOFTMAXES[name](x @ W)

    net, at = nj.network(f, batched=True), jacobians(f, X)
    for r in (0.01, 0.2, 1.0):
        lower, upper, least, most = seen(net, at, X, r, 1e-12)
        assert (upper - lower).mean() < 2 * (most - least).mean()


def test_two_classes_are_enclosed_exactly():
    """p (1 − p) (w₁ − w₂), 1/4 at the middle of the box."""
    lower, upper = nj.bounds(nj.network(jax.nn.softmax, batched=True), np.zeros((1, 2)), np.array([1.0, 0.5]))
    end = 1 / (2 + np.exp(1.5) + np.exp(-1.5))
    np.testing.assert_allclose(lower[0], [[end, -0.25], [-0.25, end]], rtol=1e-12)
    np.testing.assert_allclose(upper[0], [[0.25, -end], [-end, 0.25]], rtol=1e-12)


def test_values_divided_by_their_size_have_known_slopes_in_a_box_without_bound():
    """(δ − z zᵀ / n) / σ is at most 1/√ε, however far the box goes."""
    lower, upper = nj.bounds(nj.network(NORMS["unit length"], batched=True), np.zeros((1, 4)), 1e3)
    assert np.abs([lower, upper]).max() <= 1.001 / 0.1


def test_a_centred_value_reaches_the_root_of_the_others_and_no_more_is_given_away():
    """z = 2 = √(n − 1) of n = 5 where all others are alike, in a box that leaves the others open."""
    scale = Scale((1,), (0.2, 0.2), 0.0, True)
    with jax.enable_x64(True):
        z = _values(scale, Interval(jnp.array([[4.0, -2, -2, -2, -2]]), jnp.array([[4.0, 2, 2, 2, 2]])))
    np.testing.assert_allclose(z.hi[0, 0], 2, rtol=1e-12)
    assert z.hi[0, 0] >= 2
    np.testing.assert_allclose(z.lo[0, 0], 4 / np.sqrt(6.4), rtol=1e-12)


def test_lines_narrow_a_relu_network():
    """Half as wide as what intervals alone give."""
    rng = np.random.default_rng(0)
    first, second, third = (rng.standard_normal(s) * np.sqrt(2 / s[0]) for s in ((10, 32), (32, 32), (32, 4)))
    f = nj.network(lambda x: jax.nn.relu(jax.nn.relu(x @ first) @ second) @ third, batched=True)
    lower, upper = nj.bounds(f, np.random.default_rng(2).standard_normal((16, 10)), 0.01)
    assert (upper - lower).mean() < 0.15


def found(f, x=X):
    boxes = boxes_of(f, x, 0.0, "output")
    program = boxes.point.traced.program
    softmaxes = [kind.kind for eqn in program.equations if (kind := softmax(program, eqn)) is not None]
    norms = [one for eqn in program.equations if (one := norm(program, eqn) or spread(program, eqn)) is not None]
    return softmaxes, norms


def of_keras(layer):
    first = keras.Input((4,))
    return keras.Model(first, layer(keras.layers.Dense(6)(first)))


def of_torch(layer):
    return torch.nn.Sequential(torch.nn.Linear(4, 6), layer).double()


FRONT_ENDS = {
    "keras softmax": (lambda: of_keras(keras.layers.Softmax()), 1, 0),
    "keras layer": (lambda: of_keras(keras.layers.LayerNormalization()), 0, 1),
    "keras layer, bare": (lambda: of_keras(keras.layers.LayerNormalization(center=False, scale=False)), 0, 1),
    "keras rms": (lambda: of_keras(keras.layers.RMSNormalization()), 0, 1),
    "keras group": (lambda: of_keras(keras.layers.GroupNormalization(2)), 0, 1),
    "torch softmax": (lambda: of_torch(torch.nn.Softmax(-1)), 1, 0),
    "torch log softmax": (lambda: of_torch(torch.nn.LogSoftmax(-1)), 1, 0),
    "torch layer": (lambda: of_torch(torch.nn.LayerNorm(6)), 0, 1),
    "torch rms": (lambda: of_torch(torch.nn.RMSNorm(6)), 0, 1),
    "torch group": (lambda: of_torch(torch.nn.GroupNorm(2, 6)), 0, 1),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_layers_of_keras_and_torch_are_known_and_enclosed(name):
    make, softmaxes, norms = FRONT_ENDS[name]
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    model = nj.network(make())
    known = found(model)
    assert (sum(kind != "log sum" for kind in known[0]), len(known[1])) == (softmaxes, norms)
    x, rng = X[:2], np.random.default_rng(2)
    lower, upper = nj.bounds(model, x, 0.1)
    for _ in range(40):
        J = np.asarray(nj.jacobian(model, x + 0.1 * rng.choice((-1, 0.3, 1), x.shape)))
        assert (lower <= J).all()
        assert (upper >= J).all()


def _about(u, level):
    s = jax.lax.rsqrt(mean_square(u - jax.lax.stop_gradient(level)) + 1e-3)
    return u * s + (-level) * s


LIKENESSES = {
    "a sum over fewer": lambda u: jnp.exp(u) / jnp.exp(u[:, :4]).sum(-1, keepdims=True),
    "other exponentials below": lambda u: jnp.exp(u) / jnp.exp(1.01 * u).sum(-1, keepdims=True),
    "a log of another": lambda u: 2 * u - jnp.log(jnp.exp(u).sum(-1, keepdims=True)),
    "squares of another": lambda u: centred(u) * jax.lax.rsqrt(mean_square(u) + 1e-5),
    "squares about something else": lambda u: centred(u) * jax.lax.rsqrt(mean_square(u - 1) + 1e-5),
    "about the largest, held fixed within": lambda u: _about(u, u.max(-1, keepdims=True)),
    "ε taken off": lambda u: u * jax.lax.rsqrt(mean_square(u) - 1e-5),
    "ε of the input": lambda u: u * jax.lax.rsqrt(mean_square(u) + 1 + u[:, :1] ** 2),
}


@pytest.mark.parametrize("name", LIKENESSES)
def test_what_only_looks_like_one_is_left_to_its_parts(name):
    rule = LIKENESSES[name]

    def f(x):
        return rule(x @ W)

    softmaxes, norms = found(nj.network(f, batched=True))
    assert norms == []
    assert set(softmaxes) <= {"log sum"}
    seen(nj.network(f, batched=True), jacobians(f, X), X, 0.01, 1e-11 * np.abs(jacobians(f, X)(X)).max())


def attention(kind):
    torch.manual_seed(0)
    if kind == "torch encoder":
        return torch.nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0).double().eval()
    if kind == "torch":

        class Attention(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = torch.nn.MultiheadAttention(4, 2, batch_first=True)

            def forward(self, x):
                mask = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
                return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]

        return Attention().double().eval()
    keras.utils.set_random_seed(0)
    first = keras.Input((3, 4))
    return keras.Model(first, keras.layers.MultiHeadAttention(2, 2)(first, first, use_causal_mask=True))


@pytest.mark.parametrize("kind", ["torch", "keras", "torch encoder"])
def test_attention_of_a_batch_is_enclosed(kind):
    model = nj.network(attention(kind))
    x, rng = RNG.standard_normal((2, 3, 4)), np.random.default_rng(3)
    lower, upper = nj.bounds(model, x, 0.02)
    assert np.isfinite(upper - lower).all()
    least, most = np.full(lower.shape, np.inf), np.full(lower.shape, -np.inf)
    for _ in range(60):
        J = np.asarray(nj.jacobian(model, x + 0.02 * rng.choice((-1, 0.3, 1), x.shape)))
        assert (lower <= J).all()
        assert (upper >= J).all()
        least, most = np.minimum(least, J), np.maximum(most, J)
    assert (upper - lower).mean() < (1000 if kind == "torch encoder" else 60) * (most - least).mean()
    narrow, wide = nj.bounds(model, x, 0.0)
    assert (wide - narrow).max() < 1e-10


def test_a_softmax_classifier_is_certified_to_rise_in_a_box_of_half_its_inputs_range():
    f = nj.network(lambda x: jax.nn.softmax(x @ np.diag([3.0, 2.0, 1.0])), batched=True)
    assert nj.monotone(f, np.zeros((1, 3)), 0.5)[0].tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
