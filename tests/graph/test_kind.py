"""What was compiled for one network serves all of its kind, with the numbers of each, and holds the arrays of none."""

import gc

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import netjac as nj
from netjac.graph import kind
from netjac.graph.key import Recent

X = np.random.default_rng(0).standard_normal((16, 5)).astype("float32")
Y = np.random.default_rng(1).standard_normal((16, 3)).astype("float32")
LABELS = Y.argmax(1)
COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _seconds, **_: COMPILED.append(event) if event.endswith("backend_compile_duration") else None
)


def closed_over(seed):
    rng = np.random.default_rng(seed)
    W, V = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((5, 7), (7, 3)))
    return nj.network(lambda x: nj.mark(jax.nn.relu(x @ W), f"hidden {seed}") @ V, batched=True)


def keras_model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "relu"), keras.layers.Dense(3)])


def fitted(seed):
    start = {"W": np.random.default_rng(seed).standard_normal((5, 3))}
    return nj.fit(lambda p, x: jnp.tanh(x @ p["W"]), X, Y, parameters=start, max_iterations=3)


def flow(model):
    found = nj.gradient_flow(model, X)
    return [[layer.own.rms, layer.through.rms, layer.dead or 0.0] for layer in found.layers]


USES = {
    "jacobian": lambda seed: np.asarray(nj.jacobian(closed_over(seed), X)),
    "products": lambda seed: nj.jacobian(closed_over(seed), X) @ X,
    "an attack of one step": lambda seed: nj.attacks.fgsm(closed_over(seed), X, LABELS, epsilon=0.1).raw,
    "an attack of many": lambda seed: nj.attacks.deepfool(closed_over(seed), X, LABELS).raw,
    "gradient flow": lambda seed: flow(closed_over(seed)),
    "bounds": lambda seed: nj.bounds(closed_over(seed), X[:2], 0.01),
    "a product of norms": lambda seed: nj.lipschitz(closed_over(seed), X[:2], radius=0.01).product,
    "a fit": lambda seed: fitted(seed).parameters["W"],
    "a fit of a Keras model": lambda seed: nj.fit(keras_model(seed), X, Y, max_iterations=3).loss,
    "gradient flow of a Keras model": lambda seed: flow(keras_model(seed)),
}


@pytest.mark.parametrize("use", USES)
def test_another_network_of_the_kind_compiles_nothing_and_has_its_own_numbers(use, monkeypatch):
    first = USES[use](0)
    before = len(COMPILED)
    second = USES[use](1)
    assert len(COMPILED) == before
    monkeypatch.setattr(kind, "_MADE", Recent(128))
    np.testing.assert_array_equal(USES[use](1), second)
    assert len(COMPILED) > before or use in ("jacobian", "products")  # whose programs are kept elsewhere
    assert not np.array_equal(first, second)


def test_what_a_function_closes_over_goes_with_it():
    def asked():
        W = jnp.full((173, 173), 1e-3)
        network = nj.network(lambda x: jax.nn.relu(x @ W), batched=True)
        x = np.ones((2, 173), "float32")
        np.asarray(nj.jacobian(network, x))
        nj.jacobian(network, x) @ x
        nj.attacks.fgsm(network, x, np.zeros(2, int), epsilon=0.1)
        nj.gradient_flow(network, x)

    asked()
    gc.collect()
    assert not [array for array in jax.live_arrays() if array.shape == (173, 173)]


def test_the_least_recently_asked_for_is_dropped():
    recent, made = Recent(2), []
    for place in "abacab":
        recent.once(place, lambda place=place: made.append(place))
    assert made == ["a", "b", "c", "b"]
