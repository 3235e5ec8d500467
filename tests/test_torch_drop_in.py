"""`torch_jacobian_function`: values and gradients against torch's own, in losses and training loops."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import netjac as nj
from netjac.compiled import counts
from tests.oracles import relative_error


def dense():
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 4), torch.nn.GELU())


def convolutional():
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(3),
        torch.nn.SiLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(12, 3),
        torch.nn.Softmax(-1),
    )


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(6)
        self.heads = torch.nn.MultiheadAttention(6, 2, batch_first=True)
        self.out = torch.nn.Linear(6, 2)

    def forward(self, x):
        h = self.norm(x)
        return self.out(x + self.heads(h, h, h, need_weights=False)[0])


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


CASES = [(dense, (3, 5)), (convolutional, (2, 2, 8, 8)), (Attention, (2, 4, 6)), (Recurrent, (2, 5, 3))]


def made(build, shape, dtype=torch.float64):
    torch.manual_seed(0)
    return build().to(dtype).eval(), torch.randn(shape, dtype=dtype, requires_grad=True)


def by_torch(module, x):
    """Rows by torch's own reverse mode, differentiable themselves; samples are independent, so their sum has each's row."""
    with sdpa_kernel(SDPBackend.MATH):
        y = module(x)
        rows = [torch.autograd.grad(row.sum(), x, create_graph=True)[0] for row in y.flatten(1).unbind(1)]
    return torch.stack(rows, 1).reshape(*y.shape, *x.shape[1:])


def penalty(J, weights):
    return (J.sin() * weights).sum()


@pytest.mark.parametrize(("build", "shape"), CASES)
def test_values_and_gradients_are_those_of_torch(build, shape):
    module, x = made(build, shape)
    sources = [x, *module.parameters()]
    expected = by_torch(module, x)
    weights = torch.randn(expected.shape, dtype=expected.dtype)
    theirs = torch.autograd.grad(penalty(expected, weights), sources, allow_unused=True)
    found = nj.torch_jacobian_function(module)(x)
    assert found.dtype == expected.dtype
    assert relative_error(found.detach(), expected.detach()) < 1e-12
    ours = torch.autograd.grad(penalty(found, weights), sources, allow_unused=True)
    for source, a, b in zip(sources, ours, theirs, strict=True):
        b = torch.zeros_like(source) if b is None else b
        assert relative_error(a, b) < 1e-11


def test_gradients_agree_with_differences():
    module, x = made(dense, (2, 5))
    assert torch.autograd.gradcheck(nj.torch_jacobian_function(module), (x,), atol=1e-7)


def test_a_penalty_on_the_jacobian_trains_without_planning_again():
    module, x = made(dense, (8, 5), torch.float32)
    jacobian = nj.torch_jacobian_function(module)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    norms = []
    for step in range(5):
        optimiser.zero_grad()
        loss = jacobian(x.detach()).square().sum()
        loss.backward()
        assert all(p.grad is not None for p in module.parameters())
        optimiser.step()
        norms.append(float(loss.detach()))
        if step == 0:
            before = dict(counts)
    assert norms == sorted(norms, reverse=True)
    assert counts == before


def test_layers_and_parameters_can_be_asked_for():
    module, x = made(dense, (3, 5))
    assert nj.torch_jacobian_function(module, wrt="1")(x).shape == (3, 4, 7)
    J = nj.torch_jacobian_function(module, wrt="2.weight")(x)
    assert J.shape == (3, 4, 4, 7)
    J.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_without_anything_to_backpropagate_to_it_is_a_plain_tensor():
    module, x = made(dense, (3, 5))
    with torch.no_grad():
        J = nj.torch_jacobian_function(module)(x)
    assert not J.requires_grad
    assert torch.equal(J, nj.jacobian(module, x).to_torch())


def test_an_output_that_does_not_depend_on_the_input_has_zeros_and_zero_gradients():
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.bias + torch.zeros(x.shape[0], 2, dtype=x.dtype)

    x = torch.ones(3, 4, requires_grad=True)
    J = nj.torch_jacobian_function(Constant())(x)
    assert J.shape == (3, 2, 4)
    assert not J.any()
    J.sum().backward()
    assert not x.grad.any()


def test_what_was_written_to_since_is_refused():
    module, x = made(dense, (3, 5))
    loss = nj.torch_jacobian_function(module)(x).square().sum()
    with torch.no_grad():
        module[0].weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_several_inputs_and_other_models_are_refused():
    class Two(torch.nn.Module):
        def forward(self, a, b):
            return a * b

    a = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(nj.ShapeError, match="name one of each"):
        nj.torch_jacobian_function(Two())(a, a)
    assert nj.torch_jacobian_function(Two(), wrt="b")(a, 2 * a).diagonal(dim1=1, dim2=2).allclose(torch.ones(2, 3))
    with pytest.raises(nj.ShapeError, match=r"torch\.nn\.Module"):
        nj.torch_jacobian_function(lambda x: x)
