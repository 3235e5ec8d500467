"""Enclosures of Jacobians over boxes: nothing in a box escapes, a box without extent is J itself, what has no rule is named."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from jax import lax

import netjac as nj

ACTIVATIONS = {
    "relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "gelu": jax.nn.gelu, "softplus": jax.nn.softplus,
}  # fmt: skip
NETS, POINTS, WIDTHS = 200, 100, (3, 6, 5, 2)


def many(activation, rng):
    """`NETS` random nets side by side: sample b passes through net b."""
    pairs = list(pairwise(WIDTHS))
    weights = [rng.standard_normal((NETS, *s)) * rng.uniform(0.3, 2) / np.sqrt(s[0]) for s in pairs]
    biases = [rng.standard_normal((NETS, s[1])) / 2 for s in pairs]

    def apply(x):
        for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
            x = jnp.einsum("bi,bio->bo", x, W) + b
            x = activation(x) if i < len(weights) - 1 else x
        return x

    return apply


def jacobians(f, x):
    """By JAX's forward mode in float64, a feature at a time: x → (batch, *out, *in), flat behind the outputs."""
    tangents = np.eye(x[0].size).reshape((-1, 1, *x.shape[1:]))
    push = jax.jit(jax.vmap(lambda x, t: jax.jvp(f, (x,), (jnp.broadcast_to(t, x.shape),))[1], (None, 0)))

    def at(x):
        with jax.enable_x64(True):
            return np.moveaxis(np.asarray(push(jnp.asarray(x), jnp.asarray(tangents))), 0, -1)

    return at


def held(lower, upper, J):
    J = J.reshape(lower.shape)
    return bool(((lower <= J) & (upper >= J)).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_jacobian_of_a_hundred_thousand_points_escapes_a_thousand_random_boxes_and_nets(name):
    rng = np.random.default_rng(len(name))
    f = many(ACTIVATIONS[name], rng)
    x, radius = rng.standard_normal((NETS, 3)), 10.0 ** rng.uniform(-3, 0.3, (NETS, 1))
    lower, upper = nj.bounds(nj.network(f, batched=True), x, radius)
    assert lower.shape == (NETS, 2, 3)
    assert np.isfinite(upper - lower).all()
    at = jacobians(f, x)
    for _ in range(POINTS):
        corner = rng.choice((-1, 1), x.shape) if rng.random() < 0.3 else rng.uniform(-1, 1, x.shape)
        assert held(lower, upper, at(x + radius * corner))
    narrow, wide = nj.bounds(nj.network(f, batched=True), x, 0.0)
    J = at(x)
    assert held(narrow, wide, J)
    assert (wide - narrow).max() <= 1e-12 * np.abs(J).max()


def test_lines_are_no_wider_than_intervals_where_a_layer_cancels():
    """x − x through two layers of weights: intervals alone would leave a width of 4, and an open relu."""
    W = np.array([[1.0, 1.0], [1.0, 1.0]])
    f = nj.network(lambda x: jax.nn.relu((x @ W) @ np.array([[1.0], [-1.0]]) + 0.5), batched=True)
    lower, upper = nj.bounds(f, np.zeros((1, 2)), 1.0)
    assert np.abs(lower).max() < 1e-12
    assert np.abs(upper).max() < 1e-12


def test_known_enclosures_are_met():
    """tanh′ over [−1, 2] is [1 − tanh²(2), 1]; |x| has slopes −1 to 1 where zero is inside; products are of intervals."""
    x, r = np.array([[0.5]]), 1.5
    for f, low, high in (
        (jnp.tanh, 1 - np.tanh(2) ** 2, 1),
        (jnp.abs, -1, 1),
        (jnp.exp, np.exp(-1), np.exp(2)),
        (lambda x: x * x, -2, 4),
        (lambda x: x**3, 0, 12),
        (lambda x: jax.nn.relu6(3 * x + 1), 0, 3),
        (lambda x: jax.nn.relu6(x + 1.5), 1, 1),
    ):
        lower, upper = nj.bounds(nj.network(f, batched=True), x, r)
        np.testing.assert_allclose([lower.item(), upper.item()], [low, high], rtol=1e-12, atol=1e-12)


def convolutional():
    L = keras.layers
    first = keras.Input((6, 6, 2))
    y = L.Conv2D(2, 3, activation="relu", padding="same")(first)
    y = L.Add()([y, first])
    y = L.MaxPooling2D(3, strides=2, padding="same")(y)
    y = L.AveragePooling2D(2)(L.ZeroPadding2D(1)(y))
    return keras.Model(first, L.Dense(3, activation="softmax")(L.Flatten()(y)))


def in_torch():
    n = torch.nn
    torch.manual_seed(0)
    return n.Sequential(
        n.Conv2d(1, 2, 3), n.BatchNorm2d(2), n.LeakyReLU(0.1), n.MaxPool2d(2), n.Flatten(), n.Linear(8, 4), n.ELU(),
        n.LayerNorm(4), n.Linear(4, 3),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize(
    ("make", "shape"), [(convolutional, (2, 6, 6, 2)), (in_torch, (2, 1, 6, 6))], ids=["keras", "torch"]
)
def test_convolutions_pools_residuals_and_norms_of_keras_and_torch_are_enclosed(make, shape):
    model = nj.network(make())
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    lower, upper = nj.bounds(model, x, 0.02)
    assert np.isfinite(upper - lower).all()
    for _ in range(100):
        assert held(lower, upper, np.asarray(nj.jacobian(model, x + rng.uniform(-0.02, 0.02, shape))))
    narrow, wide = nj.bounds(model, x, 0.0)
    J = np.asarray(nj.jacobian(model, x))
    assert held(narrow, wide, J)
    assert (wide - narrow).max() < 1e-9 * np.abs(J).max()


def test_attention_like_products_of_two_values_are_enclosed():
    rng = np.random.default_rng(2)
    W, V = rng.standard_normal((2, 3, 3))

    def f(x):
        return jax.nn.softmax((x @ W) @ jnp.swapaxes(x @ V, 1, 2)) @ x

    x, r = rng.standard_normal((2, 3, 3)), 0.02
    lower, upper = nj.bounds(nj.network(f, batched=True), x, r)
    at = jacobians(f, x)
    for _ in range(100):
        assert held(lower, upper, at(x + rng.uniform(-r, r, x.shape)))


def choices(x):
    """Functions whose pieces are chosen by what depends on the input, the choice being moved, summed or counted on its way."""
    first, open_ = x[:, :1] > 0, x > 0.01
    return jnp.concatenate([
        jnp.where(first, 2 * x, -7 * x),
        jnp.where(~(jnp.sum(x, -1, keepdims=True) > 0), jnp.tanh(x), 5 * x),
        jnp.where(jnp.concatenate([first, open_[:, 1:]], 1), 2 * x, -x),
        x * jnp.sum(open_, -1, keepdims=True),
        x * jnp.cumsum(open_.astype(jnp.int32), 1),
        x * jnp.any(open_, -1, keepdims=True),
        x * (x == jnp.max(x, -1, keepdims=True)),
        jnp.where(x != x[:, ::-1], x, 3 * x),
        jnp.min(jnp.sin(3 * x), -1, keepdims=True),
        lax.reduce_window(x, jnp.inf, lax.min, (1, 2), (1, 1), "SAME"),
        jnp.sign(x) * x + lax.clamp(-0.1, x, 0.1),
        jax.nn.logsumexp(3 * x, -1, keepdims=True),
    ], 1)  # fmt: skip


def test_choices_that_depend_on_the_input_are_open():
    x = np.tile([[0.03, -0.02, 0.1], [0.2, 0.3, 0.2], [-0.5, 0.0, 0.4]], (3, 1))
    r = np.repeat([0.0, 0.05, 0.4], 3)[:, None]
    lower, upper = nj.bounds(nj.network(choices, batched=True), x, r)
    assert np.isfinite(upper - lower).all()
    at, rng = jacobians(choices, x), np.random.default_rng(5)
    for _ in range(100):
        assert held(lower, upper, at(x + r * rng.uniform(-1, 1, x.shape)))


@jax.custom_jvp
def steep(x):
    """relu with a derivative that is not relu's."""
    return jnp.maximum(x, 0)


steep.defjvp(lambda x, t: (steep(x[0]), 5 * t[0]))


def test_indices_that_depend_on_the_input_whole_numbers_and_unknown_derivatives_are_refused():
    slopes = jnp.array([1.0, 5.0])
    for f, name in (
        (lambda x: x * slopes[(x > 0).astype(jnp.int32)], "gather"),
        (lambda x: x * (3 - (x > 0).astype(jnp.int32)), "sub"),
        (lambda x: x * ((x > 0).astype(jnp.int32) & 1), "and"),
        (steep, "custom_jvp_call"),
    ):
        with pytest.raises(nj.UnsupportedOperationError, match=name):
            nj.bounds(nj.network(f, batched=True), np.ones((1, 3)), 0.1)


def test_float32_inputs_and_unbatched_functions_are_taken():
    def f(x):
        return jnp.tanh(x[0] * x[1:])

    x = np.array([0.5, 1.0, -2.0], np.float32)
    lower, upper = nj.bounds(f, x, [0.1, 0.0, 0.2])
    assert lower.shape == (2, 3)
    assert lower.dtype == np.float64
    with jax.enable_x64(True):
        assert held(lower, upper, np.asarray(jax.jacrev(f)(x + np.array([0.1, 0, -0.2]))))


def test_boxes_in_pieces_are_boxes_at_once():
    W = np.random.default_rng(3).standard_normal((4, 3))
    f = nj.network(lambda x: jnp.tanh(x @ W), batched=True)
    x, r = np.random.default_rng(4).standard_normal((7, 4)), np.linspace(0, 1, 7)[:, None]
    for one, other in zip(nj.bounds(f, x, r), nj.bounds(f, x, r, memory=20000), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_boxes_whose_samples_have_weights_of_their_own_are_not_taken_in_pieces():
    W = np.random.default_rng(3).standard_normal((7, 4, 3))
    f = nj.network(lambda x: jnp.tanh(jnp.einsum("bi,bio->bo", x, W)), batched=True)
    x = np.random.default_rng(4).standard_normal((7, 4))
    for one, other in zip(nj.bounds(f, x, 0.1), nj.bounds(f, x, 0.1, memory=20000), strict=True):
        np.testing.assert_array_equal(one, other)


def test_signs_are_certified_where_they_hold_all_over_the_box():
    W = np.array([[1.0, -1.0], [2.0, 0.0]])
    f = nj.network(lambda x: jnp.tanh(x @ W) + jnp.sin(x[:, 1:]) * np.array([0.0, 1.0]), batched=True)
    assert nj.monotone(f, np.array([[0.1, 0.0]]), 0.5).tolist() == [[[1, 1], [-1, 1]]]
    assert nj.monotone(f, np.array([[0.1, 0.0]]), 2.0).tolist() == [[[1, 1], [-1, 0]]]


def test_an_operation_without_a_rule_is_named():
    f = nj.network(lambda x: nj.mark(jnp.sort(x, axis=-1), "sorted") * 2, batched=True)
    with pytest.raises(nj.UnsupportedOperationError, match="'sort' in layer 'sorted'"):
        nj.bounds(f, np.ones((1, 3)), 0.1)


def test_rounding_to_whole_numbers_is_refused_rather_than_taken_for_the_identity():
    for f in (lambda x: x.astype(int) * 1.0, lambda x: jnp.floor(x) + x):
        with pytest.raises(nj.UnsupportedOperationError, match=r"'convert_element_type'|'floor'"):
            nj.bounds(nj.network(f, batched=True), np.ones((1, 3)), 0.1)


def test_a_bad_radius_is_refused():
    f = nj.network(jnp.tanh, batched=True)
    for bad in (-0.1, np.nan, np.inf, [0.1, -1e-9, 0.1]):
        with pytest.raises(nj.RangeError, match="radius holds"):
            nj.bounds(f, np.ones((2, 3)), bad)
    for bad in (np.ones(4), np.ones((3, 3)), "wide"):
        with pytest.raises(nj.ShapeError, match="radius of shape"):
            nj.bounds(f, np.ones((2, 3)), bad)


def test_samples_that_mix_and_integers_are_refused():
    with pytest.raises(nj.UnsupportedOperationError, match="mixes the samples"):
        nj.bounds(nj.network(lambda x: x - x.mean(0), batched=True), np.ones((2, 3)), 0.1)
    with pytest.raises(nj.NotDifferentiableError, match="floating"):
        nj.bounds(nj.network(lambda x: x * 1.0, batched=True), np.ones((2, 3), int), 0.1)
