"""What holds for every layer, dtype, number of sites and way of sharing of weights."""

from __future__ import annotations

from itertools import product

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import netjac as nj
from netjac.parameters import kernel
from netjac.precision import precise
from tests.oracles import relative_error
from tests.parameters.models import Model, dense, norm

SAMPLES, WIDTH, WORDS = 5, 4, 6


def conv(h, K, stride=1, groups=1):
    how = {"dimension_numbers": ("NWC", "WIO", "NWC"), "feature_group_count": groups}
    return lax.conv_general_dilated(h, K, (stride,), "SAME", **how)


def attention(p, h):
    scores = (h @ p["Q"]) @ jnp.swapaxes(h @ p["K"], 1, 2)
    return jax.nn.softmax(scores, -1) @ (h @ p["V"])


def recurrent(p, h):
    def step(state, here):
        state = jnp.tanh(state @ p["U"] + here @ p["W"])
        return state, state

    return jnp.swapaxes(lax.scan(step, jnp.zeros_like(h[:, 0]), jnp.swapaxes(h, 0, 1))[1], 0, 1)


SQUARE = (WIDTH, WIDTH)
LAYERS = {
    "dense": (lambda p, h: jnp.tanh(h @ p["W"] + p["b"]), {"W": SQUARE, "b": (WIDTH,)}),
    "convolution": (lambda p, h: jnp.tanh(conv(h, p["K"]) + p["b"]), {"K": (3, *SQUARE), "b": (WIDTH,)}),
    "strided groups": (lambda p, h: jnp.tanh(conv(h, p["K"], 2, 2)), {"K": (3, WIDTH // 2, WIDTH)}),
    "embedding": (lambda p, h: p["table"][h], {"table": (WORDS, WIDTH)}),
    "norm": (lambda p, h: norm(h) * p["g"] + p["b"], {"g": (WIDTH,), "b": (WIDTH,)}),
    "attention": (attention, {"Q": SQUARE, "K": SQUARE, "V": SQUARE}),
    "recurrent": (recurrent, {"W": SQUARE, "U": SQUARE}),
}
SHARING = ["once", "tied", "frozen", "unused"]


def made(layer, sharing, sites, dtype):
    """The model and its input."""
    rng = np.random.default_rng(7)
    function, shapes = LAYERS[layer]
    shapes = {**shapes, "head": (WIDTH, 2)} | ({"idle": (2, 3)} if sharing == "unused" else {})
    parameters = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    held = next(iter(LAYERS[layer][1]))

    def f(p, x):
        if sharing == "frozen":
            p = p | {held: lax.stop_gradient(p[held])}
        h = function(p, x)
        if sharing == "tied" and layer == "embedding":
            return h.mean(1) @ p["table"].T
        if sharing == "tied":
            h = function(p, h)
        return jnp.tanh(h).mean(1) @ p["head"]

    if layer == "embedding":
        x = rng.integers(0, WORDS, (SAMPLES, sites))
    else:
        # Sites that resemble each other: terms between two of them are as large as those of one.
        x = (rng.standard_normal((SAMPLES, 1, WIDTH)) + 0.3 * rng.standard_normal((SAMPLES, sites, WIDTH))).astype(
            dtype
        )
    return Model(f, {name: value.astype(dtype) for name, value in parameters.items()}), x


def along(model, x, v):
    """f(p + t v) as a function of t, and f(p)'s JᵀJ v as the Hessian of half its squared distance from where it is."""
    flat, shape = jax.flatten_util.ravel_pytree({n: jnp.asarray(p, jnp.float64) for n, p in model.parameters.items()})

    @jax.jit
    def f(vector):
        return model.function(shape(vector), jnp.asarray(x)).reshape(-1)

    here = f(flat)
    loss = lambda vector: 0.5 * jnp.square(f(vector) - here).sum()  # noqa: E731
    return f, flat, jax.jit(lambda v: jax.jvp(jax.grad(loss), (flat,), (v,))[1])(jnp.asarray(v))


# A single site is another way of writing a product down: its formulas hold or fail in float64, and with no idle weight.
CASES = [
    case
    for case in product(LAYERS, SHARING, (1, 6), ("float64", "float32"))
    if case[2] == 6 or (case[1] != "unused" and case[3] == "float64")
]


@pytest.mark.parametrize(("layer", "sharing", "sites", "dtype"), CASES)
def test_every_property_holds(layer, sharing, sites, dtype, monkeypatch):
    model, x = made(layer, sharing, sites, dtype)
    wide = dtype == "float64"
    tight, products = (1e-10, 1e-12) if wide else (3e-5, 1e-5)
    network = nj.network(model, batched=True)
    J, full = nj.parameter_matrix(network, x), dense(model, x)
    rng = np.random.default_rng(3)
    v, u = rng.standard_normal(J.shape[1]).astype(dtype), rng.standard_normal(J.shape[0]).astype(dtype)
    Jv = J @ v

    assert abs(u @ Jv - (J.T @ u) @ v) <= products * np.linalg.norm(u) * np.linalg.norm(full) * np.linalg.norm(v), (
        "adjoint"
    )
    assert relative_error(J @ np.eye(J.shape[1], dtype=dtype), full) < tight, "on the identity"
    for what, found, expected in (
        ("entries", J.to_numpy(), full),
        ("norms", J.row_norms(), np.linalg.norm(full, axis=1)),
        ("gram", J.gram(), full @ full.T),
        ("diagonal", J.normal_diagonal(), np.square(full).sum(0)),
        ("normal", J.normal(), full.T @ full),
    ):
        assert relative_error(found, expected) < tight, what
    np.testing.assert_array_equal(J @ v, Jv, "repeated")
    np.testing.assert_array_equal(nj.parameter_matrix(network, x) @ v, Jv, "asked again")

    if not wide:
        return
    if sharing == "frozen":
        v = v.copy()
        v[J.names[f"parameters.{next(iter(LAYERS[layer][1]))}"]] = 0
        Jv = J @ v
    with precise(True):
        f, here, curved = along(model, x, v)
        step = 1e-6 / np.linalg.norm(v)
        differences = (f(here + step * v) - f(here - step * v)) / (2 * step)
    assert relative_error(Jv, differences) < 1e-7, "central differences"
    assert relative_error(J.T @ Jv, curved) < tight, "the Gauss–Newton product of half the squared error"

    parted = nj.parameter_matrix(network, x)
    parted._question._fitting = lambda: 2  # the last run is of one sample
    for what, found, expected in (
        ("J v", parted @ v, Jv),
        ("Jᵀ u", parted.T @ u, J.T @ u),
        ("gram", parted.gram(), J.gram()),
    ):
        assert relative_error(found, expected) < products, f"runs of two: {what}"

    monkeypatch.setattr(kernel, "_shared", lambda one, other: None)
    block = next(J._question.blocks())
    with J._question.asking():
        # A function of its own: what JAX has traced of `gram` was with sharing.
        apart = jax.jit(lambda a: kernel.gram.__wrapped__(block.uses, a, block.uses, a, block.rows, block.rows))
        assert relative_error(apart(block.arrays), full @ full.T) < tight, "without sharing δδᵀ"


def test_of_a_linear_net_the_jacobian_is_its_input():
    x = np.random.default_rng(0).standard_normal((4, 6))
    J = nj.parameter_matrix(nj.network(Model(lambda p, x: x @ p["w"], {"w": np.ones((6, 1))}), batched=True), x)
    np.testing.assert_array_equal(J.to_numpy(), x)
    np.testing.assert_allclose(J.gram(), x @ x.T, rtol=1e-14)
    np.testing.assert_allclose(J.row_norms(), np.linalg.norm(x, axis=1), rtol=1e-15)


def test_a_parameter_that_nothing_uses_has_zero_columns():
    model, x = made("dense", "unused", 1, "float64")
    J = nj.parameter_matrix(nj.network(model, batched=True), x)
    assert not J.columns("parameters.idle").any()
    assert not J.normal_diagonal()[J.names["parameters.idle"]].any()
    assert not (J.T @ np.ones(J.shape[0]))[J.names["parameters.idle"]].any()
    assert (J @ {"parameters.idle": np.ones((2, 3))} == 0).all()


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_runs_of_any_length_change_nothing(chunk):
    model, x = made("convolution", "tied", 6, "float64")
    network = nj.network(model, batched=True)
    J, parted = nj.parameter_matrix(network, x), nj.parameter_matrix(network, x)
    parted._question._fitting = lambda: chunk
    assert relative_error(parted.normal_diagonal(), J.normal_diagonal()) < 1e-13
    assert relative_error(parted.row_norms(), J.row_norms()) < 1e-13
    assert relative_error(parted.gram(), J.gram()) < 1e-13
