"""torch's networks as its exporter writes them, beside torch's own Jacobians and beside netjac's of the module."""

from __future__ import annotations

import logging
from functools import cache

import jax
import numpy as np
import pytest
import torch
from torch import nn

import netjac as nj
from tests.oracles import differences, relative_error


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.short, self.head = nn.Conv2d(2, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.relu(self.norm1(self.conv1(x)))
        h = torch.relu(self.norm2(self.conv2(h)) + self.short(x))
        return self.head(nn.functional.adaptive_avg_pool2d(h, 1).flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(3, 4, 2, batch_first=True), nn.GRU(4, 3, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0][:, -1]


class Scaled(nn.Module):
    """A learned number without an axis, and one that is not learned."""

    def __init__(self):
        super().__init__()
        self.gain, self.linear = nn.Parameter(torch.tensor(0.7)), nn.Linear(4, 3)

    def forward(self, x):
        return torch.sin(self.linear(x) * self.gain) / 1.7


def encoder():
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu", norm_first=True)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(4, 4, 2, groups=2), nn.AvgPool2d(2, 1),
        nn.Flatten(), nn.Linear(16, 5), nn.LogSoftmax(-1),
    )  # fmt: skip


NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.LayerNorm(6), nn.Linear(6, 3), nn.Softplus()), (4,)),
    "convolutional": (convolutional, (1, 9, 9)),
    "residual": (Residual, (2, 5, 5)),
    "recurrent": (Recurrent, (4, 3)),
    "transformer": (encoder, (4, 8)),
    "scaled": (Scaled, (4,)),
}


@cache
def exported(name):
    """The module in eval mode, what torch exports of it, and an input of three samples."""
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    module = make().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    x = torch.randn(3, *shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    free = ({0: torch.export.Dim("b")},)
    program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=free, verbose=False)
    return module, program, x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_torch_exports(name):
    module, program, x = exported(name)
    net = nj.network(program)
    J = nj.jacobian(net, x.numpy())
    own = nj.jacobian(module, x, engine="framework").to_numpy()
    assert J.batch == 3
    assert relative_error(J, own) < 2e-5
    if name != "recurrent":  # whose number of samples torch writes down
        assert nj.jacobian(net, x.numpy()[:2]).shape[0] == 2
    wide = x.double().numpy()
    in_float64 = nj.jacobian(net, wide).to_numpy()
    parameters = {name: np.asarray(value, "float64") for name, value in net.parameters.items()}

    def forward(values):
        return net.prepare([])(parameters, (values,))[0]

    one = differences(jax.jit(lambda v: forward(v[None])[0]), wide[0])
    assert relative_error(in_float64[0], one) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_what_torch_calls_a_parameter_is_one():
    module, program, x = exported("scaled")
    net = nj.network(program.model_proto)
    assert net.trainable == set(dict(module.named_parameters()))
    found = nj.jacobian(net, x.numpy(), wrt="gain").to_numpy()
    with torch.no_grad():
        z = module.linear(x)
        expected = torch.cos(z * module.gain) * z / 1.7
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)
