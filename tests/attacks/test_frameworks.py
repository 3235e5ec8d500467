"""Models of every framework, arrays of every framework, softmax at the end or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import netjac as nj
from tests.attacks.references import Net, deepfool

SIZES = (6, 8, 4)


@pytest.fixture(scope="module")
def net():
    return Net(SIZES, scale=2.0)


@pytest.fixture(name="X", scope="module")
def inputs():
    return np.random.default_rng(1).uniform(0, 1, (12, 6))


@pytest.fixture(scope="module")
def expected(net, X):
    return np.array([deepfool(net, x, net.scores(x).argmax(), 2) for x in X])


def torch_model(net, softmax):
    layers = []
    for W, b in net.layers:
        linear = torch.nn.Linear(*W.shape[::-1], dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.tensor(W), torch.tensor(b)
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1], *([torch.nn.Softmax(-1)] if softmax else []))


def keras_model(net, softmax):
    import keras

    layers = [
        keras.layers.Dense(8, activation="tanh", dtype="float64"),
        keras.layers.Dense(4, activation="softmax" if softmax else None, dtype="float64", name="last"),
    ]
    model = keras.Sequential([keras.Input((6,), dtype="float64"), *layers])
    for layer, (W, b) in zip(model.layers, net.layers, strict=True):
        layer.set_weights([W.T, b])
    return model


@pytest.mark.parametrize("softmax", [False, True])
def test_torch(net, X, expected, softmax):
    model = torch_model(net, softmax)
    model.train()
    x = torch.tensor(X)
    found = nj.attacks.deepfool(model, x)
    for array in (found.raw, found.adversarial, found.success, found.distance, found.predicted):
        assert isinstance(array, torch.Tensor)
    assert (found.raw.dtype, found.success.dtype) == (torch.float64, torch.bool)
    assert np.allclose(found.raw.numpy(), expected, rtol=0, atol=1e-9)
    assert torch.equal(model(found.adversarial).argmax(1), found.predicted.long())
    assert found.success.all()
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("softmax", [False, True])
def test_keras(net, X, expected, softmax):
    model = keras_model(net, softmax)
    found = nj.attacks.deepfool(model, X)
    assert found.raw.dtype == np.float64
    assert np.allclose(found.raw, expected, rtol=0, atol=1e-9)
    assert np.array_equal(np.asarray(model(found.adversarial)).argmax(1), found.predicted)


@pytest.mark.parametrize("last", [jnp.asarray, jax.nn.softmax])
def test_jax(net, X, expected, last):
    scores = net.network().function
    network = nj.network(lambda x: last(scores(x)), batched=True)
    with jax.enable_x64(True):
        found = nj.attacks.deepfool(network, jnp.asarray(X))
    assert isinstance(found.raw, jax.Array)
    assert found.raw.dtype == np.float64
    assert np.allclose(found.raw, expected, rtol=0, atol=1e-9)


def test_logits_that_sum_to_one_are_not_taken_for_probabilities():
    W = np.random.default_rng(0).uniform(0, 1, (3, 3))
    network = nj.network(lambda x: x @ W + jnp.array([1.0, 0.0, 0.0]), batched=True)
    found = nj.attacks.deepfool(network, np.zeros((1, 3)))
    others = [1 / np.linalg.norm(W[:, k] - W[:, 0]) for k in (1, 2)]
    assert np.isclose(found.distance[0], 1.02 * min(others), rtol=1e-6)


def test_float32_stays_and_images_keep_their_shape():
    rng = np.random.default_rng(0)
    kernel, W = rng.standard_normal((3, 3, 2, 4)).astype("f4"), rng.standard_normal((36, 3)).astype("f4") / 6

    def f(x):
        h = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.maximum(h, 0).reshape((len(x), -1)) @ W

    X = rng.uniform(0, 1, (10, 6, 6, 2)).astype("f4")
    network = nj.network(f, batched=True)
    y = np.asarray(f(X)).argmax(1)
    for attack, given in (
        (nj.attacks.fgsm, {"epsilon": 0.1}),
        (nj.attacks.pgd, {"epsilon": 0.1, "steps": 3}),
        (nj.attacks.deepfool, {}),
        (nj.attacks.jsma, {"theta": 0.5, "gamma": 0.3}),
    ):
        found = attack(network, X, y, bounds=(0, 1), **given)
        assert found.raw.dtype == found.adversarial.dtype == np.float32
        assert found.raw.shape == found.adversarial.shape == X.shape
        assert np.array_equal(np.asarray(f(found.adversarial)).argmax(1) != y, found.success)
        order = found.norm if found.norm else 0
        assert np.allclose(
            found.distance, np.linalg.norm((found.adversarial.astype(float) - X).reshape(10, -1), order, 1)
        )


def test_convolutions_are_looped_over_outside_the_program_and_give_the_same():
    rng = np.random.default_rng(0)
    kernel, W = rng.standard_normal((3, 1, 4)), rng.standard_normal((24, 3))

    def network(convolve):
        return nj.network(lambda x: jnp.tanh(convolve(x)).reshape((len(x), -1)) @ W.astype(x.dtype), batched=True)

    def by_convolution(x):
        return jax.lax.conv_general_dilated(
            x[..., None], kernel.astype(x.dtype), (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )

    def by_windows(x):
        return jnp.einsum(
            "bwk,kc->bwc", jnp.stack([x[:, k : k + 6] for k in range(3)], -1), kernel[:, 0].astype(x.dtype)
        )

    X = rng.uniform(0, 1, (90, 8))
    outside, inside = network(by_convolution), network(by_windows)
    for count in (90, 75):  # of other numbers of samples, and as many slots
        found, expected = (nj.attacks.deepfool(net, X[:count], bounds=(0, 1)) for net in (outside, inside))
        assert np.allclose(found.raw, expected.raw, rtol=0, atol=1e-9)
        assert found.success.mean() > 0.9


def test_a_model_goes_when_its_owner_lets_it_go(net, X):
    """What attacks compile is kept with the model, and does not keep the model."""
    import gc
    import weakref

    model = torch_model(net, False)
    gone = weakref.ref(model)
    nj.attacks.deepfool(model, torch.tensor(X))
    del model
    gc.collect()
    assert gone() is None


def test_a_torch_module_verifies_all_samples_by_one_forward_pass(net):
    """Its batches may be of any size; those of an exported program are of the size that it was exported with."""
    seen, X = [], np.random.default_rng(1).uniform(0, 1, (300, 6))
    model = torch_model(net, False).eval()
    model.register_forward_hook(lambda module, args, result: seen.append(len(result)))
    nj.attacks.pgd(model, torch.tensor(X), net.classes(X), epsilon=0.1)
    seen.clear()
    found = nj.attacks.pgd(model, torch.tensor(X), net.classes(X), epsilon=0.1)
    assert seen == [300]
    # With room for few samples they are not put together.
    seen.clear()
    cut = nj.attacks.pgd(model, torch.tensor(X), net.classes(X), epsilon=0.1, memory=100_000)
    assert len(seen) > 1
    assert np.array_equal(found.predicted, cut.predicted)
    program = torch.export.export(torch_model(net, False).eval(), (torch.zeros((64, 6), dtype=torch.float64),))
    assert np.array_equal(nj.attacks.pgd(program, torch.tensor(X), net.classes(X), epsilon=0.1).success, found.success)
