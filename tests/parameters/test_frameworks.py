"""Parameter matrices of the models that people bring: the same numbers as one parameter's Jacobian at a time."""

from __future__ import annotations

import copy
import json

import backpack
import keras
import numpy as np
import pytest
import torch
from backpack.extensions import BatchGrad
from torch import nn

import netjac as nj
from netjac.cli import main
from tests.oracles import relative_error


def keras_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, activation="gelu", strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="tanh"),
            keras.layers.Dense(3),
        ]
    )


class Embedded(nn.Module):
    """Words, a shared table, attention and a norm."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(9, 6), nn.LayerNorm(6)
        self.attention, self.frozen = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 6)
        self.frozen.requires_grad_(False)

    def forward(self, words):
        h = self.norm(self.table(words))
        h = h + self.attention(h, h, h, need_weights=False)[0]
        return self.frozen(h).mean(1) @ self.table.weight.T


def recurrent():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    return Last()


NETWORKS = {
    "keras": lambda: (keras_net(), np.random.default_rng(0).standard_normal((4, 8, 8, 2)).astype("float32"), 1e-5),
    "embedding": lambda: (Embedded().double().eval(), torch.tensor([[1, 2, 2], [0, 8, 3]]), 1e-11),
    "lstm": lambda: (recurrent().double(), torch.randn(3, 5, 3, dtype=torch.float64), 1e-11),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_columns_are_each_parameters_jacobian(name):
    torch.manual_seed(0)
    model, x, tolerance = NETWORKS[name]()
    J, single = nj.parameter_matrix(model, x), nj.jacobian(model, x, wrt="parameters")
    assert list(J.names) == list(single)
    full = np.asarray(J.to_numpy())
    for parameter, place in J.names.items():
        expected = np.asarray(single[parameter]).reshape(full.shape[0], -1)
        assert relative_error(full[:, place], expected) < tolerance, parameter
    m = full.shape[0] // len(x)
    kernel = (full @ full.T).reshape(len(x), m, len(x), m).transpose(0, 2, 1, 3)
    assert relative_error(np.asarray(nj.ntk(model, x)), kernel) < tolerance
    assert not any("frozen" in parameter for parameter in J.names)


def torch_rows(module, x):
    """Every row by torch's autograd, the parameters that need gradients one after another."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for row in module(x).reshape(-1):
        grads = torch.autograd.grad(row, parameters, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("name", ["embedding", "lstm"])
def test_the_rows_are_torchs_own(name):
    torch.manual_seed(0)
    module, x, tolerance = NETWORKS[name]()
    trained = [parameter for parameter, value in module.named_parameters() if value.requires_grad]
    J, expected = nj.parameter_matrix(module, x), torch_rows(module, x)
    assert sorted(J.names) == sorted(trained)
    sizes = [module.get_parameter(parameter).numel() for parameter in trained]
    ends = np.cumsum(sizes)
    for parameter, end, size in zip(trained, ends, sizes, strict=True):
        assert relative_error(np.asarray(J.columns(parameter)), expected[:, end - size : end]) < tolerance, parameter


def backpack_rows(module, x):
    """Per-sample gradients of each output by BackPACK, (N, m, …) by parameter."""
    extended = backpack.extend(copy.deepcopy(module))
    outputs = extended(x).shape[1]
    found = {name: [] for name, _ in extended.named_parameters()}
    for k in range(outputs):
        extended.zero_grad()
        with backpack.backpack(BatchGrad()):
            extended(x)[:, k].sum().backward()
        for name, parameter in extended.named_parameters():
            found[name].append(parameter.grad_batch.numpy())
    return {name: np.stack(parts, 1) for name, parts in found.items()}


PLAIN = {
    "dense": (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (4, 6)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Sigmoid(), nn.Conv2d(4, 4, 2, groups=2), nn.Tanh(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3),
        ),
        (4, 2, 6, 6),
    ),
    "transposed": (nn.Sequential(nn.ConvTranspose1d(2, 3, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(33, 2)), (3, 2, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_per_sample_gradients_are_backpacks(name):
    module, shape = PLAIN[name]
    module, x = module.double(), torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    J, expected = nj.parameter_matrix(module, x), backpack_rows(module, x)
    assert list(J.names) == list(expected)
    for parameter, rows in expected.items():
        assert relative_error(np.asarray(J.columns(parameter)), rows.reshape(J.shape[0], -1)) < 1e-10, parameter
    norms = np.sqrt(sum(np.square(rows).reshape(J.shape[0], -1).sum(1) for rows in expected.values()))
    assert relative_error(np.asarray(J.row_norms()), norms) < 1e-10


def test_nothing_of_the_model_or_of_the_users_settings_changes():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    module(torch.randn(8, 4)).sum().backward()
    module.eval()
    module[0].train()
    module[3].weight.requires_grad_(False)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    gradients = {key: None if p.grad is None else p.grad.clone() for key, p in module.named_parameters()}
    flags = [(p.requires_grad, p.is_leaf) for p in module.parameters()]
    modes, drawn, numpys = (
        [m.training for m in module.modules()],
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
    )
    x = torch.randn(5, 4, requires_grad=True)
    after_x = torch.get_rng_state()
    J = nj.parameter_matrix(module, x)
    for _ in (
        J.gram(),
        J.row_norms(),
        J.normal_diagonal(),
        J.svd(2),
        J @ np.ones(J.shape[1]),
        J.T @ np.ones(10),
        J.rows(0),
    ):
        pass
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    for key, parameter in module.named_parameters():
        assert (parameter.grad is None) == (gradients[key] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, gradients[key])
    assert flags == [(p.requires_grad, p.is_leaf) for p in module.parameters()]
    assert modes == [m.training for m in module.modules()]
    assert x.grad is None
    assert torch.equal(after_x, torch.get_rng_state())
    assert not torch.equal(after_x, drawn)
    assert (np.random.get_state()[1] == numpys).all()
    assert not any(name.startswith("3.weight") for name in J.names)


def test_answers_come_back_as_the_input_came():
    module, x = nn.Linear(4, 3), torch.ones(5, 4)
    J = nj.parameter_matrix(module, x)
    for answer in (J @ np.ones(15, "float32"), J.T @ torch.ones(15), J.gram(), J.row_norms(), nj.ntk(module, x)):
        assert isinstance(answer, torch.Tensor)
    assert J.unflatten(J.T @ torch.ones(15))["weight"].shape == (3, 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_command_saves_the_kernel(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel_model.py").write_text("import torch\ntorch.manual_seed(0)\nnet = torch.nn.Linear(4, 2)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save("x.npy", np.eye(4, dtype="float32"))
    assert main(["ntk", "kernel_model:net", "x.npy", "-o", "k.npy", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    kernel = np.load("k.npy")
    assert told["shape"] == list(kernel.shape) == [4, 4, 2, 2]
    expected = np.einsum("nm,ij->nmij", np.eye(4) + 1, np.eye(2))
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    assert told["trace"] == pytest.approx(16)
    assert main(["ntk", "kernel_model:net", "x.npy", "--against", "x.npy", "--trace"]) == 0
    assert capsys.readouterr().out.split()[0] == "shape"
