"""Parameter matrices of the models that people bring: the same numbers as one parameter's Jacobian at a time."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import torch
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
