"""A lazy Jacobian is of the input and the weights at which it was asked for, or says that it no longer can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPRegressor

import netjac as nj
from netjac.networks.held import Held

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


@pytest.fixture
def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


def stepped(module):
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    module.eval()(torch.from_numpy(X)).square().sum().backward()
    optimiser.step()


def loaded(module):
    module.load_state_dict({name: t + 1 for name, t in module.state_dict().items()})


QUESTIONS = {
    "entries": np.asarray,
    "product": lambda J: J @ np.ones((5, 4), "float32"),
    "pulled": lambda J: np.ones((5, 3), "float32") @ J,
    "values": lambda J: J.svd(1),
    "row": lambda J: J.rows(0),
}


@pytest.mark.parametrize("change", [stepped, loaded])
@pytest.mark.parametrize("question", QUESTIONS)
def test_what_torch_wrote_over_is_refused_by_name(module, change, question):
    J = nj.jacobian(module, X)
    change(module)
    with pytest.raises(nj.ChangedError, match=r"'0.weight' of 'Sequential' was written in place"):
        QUESTIONS[question](J)
    again = nj.jacobian(module, X)
    np.testing.assert_allclose(again, nj.jacobian(module, X, engine="framework"), rtol=1e-4, atol=1e-6)


def test_by_parameters_too(module):
    J, K = nj.parameter_matrix(module, X), nj.jacobian(module, X, wrt="parameters")
    stepped(module)
    with pytest.raises(nj.ChangedError, match="written in place"):
        J.to_numpy()
    with pytest.raises(nj.ChangedError, match="written in place"):
        np.asarray(K["0.weight"])


def test_what_was_computed_before_stays(module):
    J = nj.jacobian(module, X)
    before = np.array(J)
    stepped(module)
    np.testing.assert_array_equal(J, before)
    assert np.abs(before - np.asarray(nj.jacobian(module, X))).max() > 1e-3


def test_the_statistics_of_batch_norm_are_kept(module):
    """torch writes them without counting."""
    J, before = nj.jacobian(module, X), np.array(nj.jacobian(module, X))
    module.train()(torch.from_numpy(X))
    np.testing.assert_array_equal(J, before)
    assert np.abs(before - np.asarray(nj.jacobian(module, X))).max() > 1e-3


def test_a_tensor_that_was_replaced_leaves_the_old_numbers(module):
    J, before = nj.jacobian(module, X), np.array(nj.jacobian(module, X))
    module[0].weight = torch.nn.Parameter(torch.ones(8, 4))
    np.testing.assert_array_equal(J, before)


@pytest.mark.parametrize("again", [False, True])
def test_an_input_of_numpy_is_kept_and_one_of_torch_looked_after(module, again):
    network = nj.network(module)
    if again:
        nj.jacobian(network, X)
    x, before = X.copy(), np.array(nj.jacobian(module, X))
    J = nj.jacobian(network, x)
    x *= 3
    np.testing.assert_array_equal(J, before)
    tensor = torch.from_numpy(X.copy())
    K = nj.jacobian(network, tensor)
    tensor.mul_(3)
    with pytest.raises(nj.ChangedError, match="'input' of 'Sequential'"):
        np.asarray(K)


def test_a_memory_map_is_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r+")
    asked = nj.jacobian(lambda x: x**2, x)
    assert np.shares_memory(asked._source.asked.point.arrays[0], x)


def test_tensors_of_inference_mode_have_no_count_and_are_taken(module):
    with torch.inference_mode():
        tensor = torch.from_numpy(X.copy()) * 1
    np.testing.assert_array_equal(nj.jacobian(module, tensor).to_numpy(), np.asarray(nj.jacobian(module, X)))


def test_a_double_network_looked_at_in_float64_keeps_all_its_digits():
    model = torch.nn.Linear(4, 3).double()
    J = nj.jacobian(model, X)
    assert J.check().passed
    held = Held.now({}, model.named_parameters())
    held.refuse_changed("model")


def test_training_scikit_learn_further_leaves_a_jacobian_as_it_was():
    fitted = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0).fit(X, X[:, 0])
    J, before = nj.jacobian(fitted, X), np.array(nj.jacobian(fitted, X))
    fitted.partial_fit(X, X[:, 0])
    np.testing.assert_array_equal(J, before)
    assert np.abs(before - np.asarray(nj.jacobian(fitted, X))).max() > 0
