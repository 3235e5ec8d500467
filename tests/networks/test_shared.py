"""Weights that are read again where they lie: however they were written, the numbers are those of now."""

import numpy as np
import pytest
import torch

import netjac as nj
from netjac.networks import network_of
from netjac.networks.shared import shared


def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def stepped(model):
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def set_in_place(model):
    with torch.no_grad():
        model[0].weight[1, 2] = 7.0


def written_past_the_version(model):
    before = model[0].weight._version
    model[0].weight.data.add_(1.0)
    assert model[0].weight._version == before


def written_by_numpy(model):
    model[0].weight.detach().numpy()[0, 0] = -5.0


def other_data(model):
    model[0].weight.data = torch.full((5, 3), 0.25)


def loaded(model):
    model.load_state_dict({name: value * 3 + 1 for name, value in model.state_dict().items()})


def another_parameter(model):
    model[0].weight = torch.nn.Parameter(torch.full((5, 3), -0.5))


def storage_given_up_and_taken_again(model):
    weight = model[0].weight
    storage, size = weight.untyped_storage(), weight.untyped_storage().size()
    storage.resize_(0)
    kept = torch.zeros(5, 3)  # may lie where the weights lay
    storage.resize_(size)
    with torch.no_grad():
        weight.copy_(kept + 0.125)


def turned(model):
    model[0].weight.data = torch.arange(15.0).reshape(3, 5).T


def moved_to_shared_memory(model):
    model.share_memory()
    model[0].weight.data.mul_(2)


WAYS = (
    stepped, set_in_place, written_past_the_version, storage_given_up_and_taken_again, written_by_numpy, other_data, loaded,
    another_parameter, turned, moved_to_shared_memory,
)  # fmt: skip


@pytest.fixture(scope="module")
def warm():
    """One model, of which all that is compiled is there."""
    model = module()
    nj.jacobian(model, np.ones((1, 3), np.float32))
    return model


@pytest.mark.parametrize("write", WAYS)
def test_numbers_are_those_of_now(warm, write):
    network, x = network_of(warm), np.ones((1, 3), np.float32)
    old = [np.asarray(array).copy() for array in network.parameters.values()]
    assert all(torch.equal(torch.tensor(a), p) for a, p in zip(old, warm.parameters(), strict=True))
    write(warm)
    found = [np.asarray(array) for array in network_of(warm).parameters.values()]
    assert all(torch.equal(torch.tensor(a), p) for a, p in zip(found, warm.parameters(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found, old, strict=True))
    expected = torch.func.jacrev(lambda v: warm(v))(torch.ones(3))
    size = float(torch.linalg.norm(warm[0].weight) * torch.linalg.norm(warm[2].weight))
    assert np.allclose(np.asarray(nj.jacobian(warm, x))[0], expected.detach(), rtol=0, atol=1e-6 * size)


def test_a_tensor_that_stays_where_it_is_is_wrapped_once():
    model = module()
    assert shared(model[0].weight) is shared(model[0].weight)


def test_memory_that_must_be_copied_is_read_every_time():
    memory = torch.zeros(40)
    start = 1 if memory.data_ptr() % 64 == 0 else 0
    tensor = memory[start : start + 16]
    first = np.asarray(shared(tensor)).copy()
    tensor.add_(1)
    assert not first.any()
    assert (np.asarray(shared(tensor)) == 1).all()


def test_a_wrapped_tensor_is_let_go():
    import gc
    import weakref

    tensor = torch.zeros(64)
    shared(tensor)
    gone = weakref.ref(tensor)
    del tensor
    gc.collect()
    assert gone() is None
