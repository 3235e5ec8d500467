"""PyTorch modules as networks: agreement with torch's own autograd, names, and the user's module left alone."""

from __future__ import annotations

import gc
import pickle
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import netjac as nj
from netjac.networks import exported
from netjac.networks.torch import TorchNetwork
from netjac.precision import precise
from tests.networks.torch_models import Lambda, ResNet18, UNet, encoder


def agreement(module, *inputs, parameters=True):
    """The largest relative error of uᵀJ against torch's pull-back for a random u; parameters relative to all of them."""
    x = inputs[0] if len(inputs) == 1 else inputs
    network = TorchNetwork(module)
    network.flatten(x)
    arrays = [t.detach().numpy() for t in inputs]
    (y, *others) = network.evaluate(arrays)
    u = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    by_input, by_parameter = network.pull_back(arrays, [u, *[None] * len(others)])
    samples = len(arrays[0])

    def pulled(J, shape):
        return np.einsum("bm,bmn->bn", u.reshape(samples, -1), J.matrix().reshape(samples, u[0].size, -1)).reshape(
            shape
        )

    J = nj.jacobian(module, x)
    first = next(iter(J.values())) if isinstance(J, dict) else J
    scale = max(np.linalg.norm(by_input[0]), 1e-300)
    errors = [np.linalg.norm(pulled(_as_numpy(first), by_input[0].shape) - by_input[0]) / scale]
    if parameters and by_parameter:
        total = np.sqrt(sum(np.sum(g**2) for g in by_parameter.values()))
        for name, j in nj.jacobian(module, x, wrt="parameters").items():
            mine = pulled(_as_numpy(j), (samples, *by_parameter[name].shape)).sum(0)
            errors.append(np.linalg.norm(mine - by_parameter[name]) / total)
    return max(errors)


class _as_numpy:  # noqa: N801  reads as the function it stands for
    def __init__(self, J):
        self.J = J

    def matrix(self):
        return self.J.to_numpy().reshape(self.J.batch, int(np.prod(self.J.out_shape)), -1)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def test_a_transformer_encoder_of_two_layers_agrees_with_torch():
    torch.manual_seed(0)
    assert agreement(encoder().double(), draw(3, 5, 8)) < 1e-11


def test_a_unet_agrees_with_torch():
    torch.manual_seed(0)
    assert agreement(UNet().double(), draw(2, 1, 8, 8), parameters=False) < 1e-11


def test_a_resnet_18_agrees_with_torch_in_single_precision():
    torch.manual_seed(0)
    assert agreement(ResNet18(width=16), draw(2, 3, 32, 32, dtype=torch.float32), parameters=False) < 2e-5


def test_parameters_keep_their_dotted_names_and_frozen_ones_are_left_out():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module[0].weight.requires_grad_(False)
    J = nj.jacobian(module, torch.ones(5, 3), wrt="parameters")
    assert {name: j.shape for name, j in J.items()} == {
        "0.bias": (5, 2, 4),
        "2.weight": (5, 2, 2, 4),
        "2.bias": (5, 2, 2),
    }


def test_a_tied_weight_has_one_jacobian_that_sums_its_uses():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    module = Tied().double()
    assert agreement(module, draw(4, 3)) < 1e-12
    assert list(nj.jacobian(module, draw(4, 3), wrt="parameters")) == ["a.weight"]


def test_layers_are_named_by_their_paths_also_inside_nested_modules():
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2)).double()
    network = nj.network(module, draw(2, 3))
    assert [(spec.name, spec.kind, spec.shape) for spec in network.layers] == [
        ("0.0", "Linear", (None, 4)),
        ("0.1", "ReLU", (None, 4)),
        ("0", "Sequential", (None, 4)),
        ("1", "Linear", (None, 2)),
    ]
    J = nj.jacobian(module, draw(2, 3), wrt="0.0", of="1")
    weight = module[1].weight.detach().numpy()
    slope = (module[0][0](draw(2, 3)).detach().numpy() > 0).astype(float)
    np.testing.assert_allclose(J.to_numpy(), weight[None] * slope[:, None, :], rtol=1e-12)


def test_a_module_called_twice_is_known_by_its_second_call_too():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(3, 3)

        def forward(self, x):
            return self.f(torch.tanh(self.f(x)))

    module = Twice().double()
    names = [spec.name for spec in nj.network(module, draw(2, 3)).layers]
    assert names == ["f", "f#2"]
    J = nj.jacobian(module, draw(2, 3), wrt="f", of="f#2").to_numpy()
    z = module.f(draw(2, 3)).detach().numpy()
    np.testing.assert_allclose(
        J, module.f.weight.detach().numpy()[None] * (1 - np.tanh(z) ** 2)[:, None, :], rtol=1e-12
    )


def test_repeated_calls_never_export_again_and_see_new_weights():
    module = nn.Sequential(nn.Linear(3, 2)).double()
    x = draw(4, 3)
    nj.jacobian(module, x).to_numpy()
    before = exported.counts["exports"]
    with torch.no_grad():
        module[0].weight.mul_(2)
    J = nj.jacobian(module, x).to_numpy()
    assert exported.counts["exports"] == before
    np.testing.assert_allclose(J[0], module[0].weight.detach().numpy())


def test_a_changed_module_is_exported_anew():
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double()
    curved = nj.jacobian(module, draw(4, 3)).to_numpy()
    module[1] = nn.Identity()
    straight = nj.jacobian(module, draw(4, 3)).to_numpy()
    np.testing.assert_allclose(straight[0], module[0].weight.detach().numpy())
    assert not np.allclose(curved, straight)


def test_an_input_that_is_not_given_is_named():
    class Sum(nn.Module):
        def forward(self, x, y, scale=1.0):
            return scale * (x + y)

    for given in (torch.ones(1, 3), {"x": torch.ones(1, 3)}, (torch.ones(1, 3),)):
        with pytest.raises(nj.ShapeError, match="was given no 'y'; forward takes x, y, scale"):
            nj.jacobian(Sum(), given)


class Scaled(nn.Module):
    """What it computes hangs on plain attributes as well as on weights."""

    def __init__(self):
        super().__init__()
        self.scale, self.table, self.act, self.options = 2.0, torch.eye(3).double(), torch.tanh, {"twice": False}
        self.record = SimpleNamespace(sign=1)

    def forward(self, x):
        y = self.record.sign * self.act(self.scale * (x @ self.table))
        return 2 * y if self.options["twice"] else y


def test_attributes_and_hooks_that_are_set_between_calls_are_seen():
    module, x = Scaled(), torch.zeros(1, 3, dtype=torch.float64)

    def slope():
        return nj.jacobian(module, x).to_numpy()[0, 0, 0]

    assert slope() == 2
    module.scale = 5.0
    assert slope() == 5
    module.table.mul_(3)
    assert slope() == 15
    module.table = torch.eye(3).double() * 7
    assert slope() == 35
    module.options["twice"] = True
    assert slope() == 70
    module.record.sign = -1
    assert slope() == -70
    module.record.sign = 1
    module.act = torch.exp
    assert slope() == 70
    assert nj.jacobian(module, x + 1).to_numpy()[0, 0, 0] > 1e15
    hook = module.register_forward_hook(lambda m, inputs, y: 10 * y)
    assert slope() == 700
    hook.remove()
    assert slope() == 70
    module.forward = lambda x: 9 * x
    assert slope() == 9


def test_an_lstm_whose_weights_are_written_to_is_not_exported_again():
    module, x = nn.LSTM(3, 2, batch_first=True).double(), draw(2, 2, 3)
    nj.jacobian(module, x, of="output.0").to_numpy()
    before = exported.counts["exports"]
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert not nj.jacobian(module, x, of="output.0").to_numpy().any()
    assert exported.counts["exports"] == before


def test_new_running_statistics_of_a_batch_norm_are_seen():
    module = nn.BatchNorm1d(2).double().eval()
    assert np.isclose(nj.jacobian(module, draw(3, 2)).to_numpy()[0, 0, 0], 1 / np.sqrt(1 + 1e-5))
    module.running_var.fill_(4.0)
    assert np.isclose(nj.jacobian(module, draw(3, 2)).to_numpy()[0, 0, 0], 1 / np.sqrt(4 + 1e-5))


def test_the_users_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module.train()
    module[3].eval()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    J = nj.jacobian(module, torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    J.to_numpy()
    nj.jacobian(module, torch.ones(5, 3), engine="framework").to_numpy()
    assert torch.equal(torch.rand(2), expected)
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_a_module_is_not_kept_alive_by_its_traces():
    module = nn.Linear(3, 2)
    nj.jacobian(module, torch.ones(2, 3)).to_numpy()
    there = weakref.ref(module)
    del module
    gc.collect()
    assert there() is None


def test_float64_inputs_give_float64_even_from_a_float32_module():
    module = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    assert nj.jacobian(module, draw(2, 3)).dtype == np.float64
    assert agreement(module, draw(2, 3)) < 1e-12
    assert module[0].weight.dtype == torch.float32


def test_answers_to_torch_inputs_are_torch_tensors():
    J = nj.jacobian(nn.Linear(3, 2), torch.ones(4, 3))
    v = torch.ones(4, 3)
    assert isinstance(J @ v, torch.Tensor)
    assert isinstance(J.matrix(), torch.Tensor)
    assert isinstance(J.to_torch(), torch.Tensor)


def test_batches_of_one_and_of_other_sizes_use_the_same_export():
    module = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(12, 2)).double()
    before = exported.counts["exports"]
    network = nj.network(module)
    whole = nj.jacobian(network, draw(6, 2, 5)).to_numpy()
    alone = nj.jacobian(network, draw(6, 2, 5)[:1]).to_numpy()
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-12)
    assert exported.counts["exports"] - before <= 2


def test_several_inputs_come_as_a_tuple_or_by_forwards_names():
    class Two(nn.Module):
        def forward(self, a, b):
            return torch.tanh(a) * b.sum(1, keepdim=True)

    a, b = draw(3, 2), draw(3, 4)
    by_place, by_name = nj.jacobian(Two(), (a, b)), nj.jacobian(Two(), {"b": b, "a": a})
    assert set(by_place) == {"a", "b"}
    np.testing.assert_allclose(by_place["b"].to_numpy(), by_name["b"].to_numpy())
    with pytest.raises(nj.ShapeError, match="forward takes a, b"):
        nj.jacobian(Two(), {"a": a, "c": b})


def test_several_outputs_are_named_by_their_keys():
    module = Lambda(lambda x: {"twice": 2 * x, "mean": x.mean(1)})
    assert {name: j.shape for name, j in nj.jacobian(module, draw(3, 2)).items()} == {
        "twice": (3, 2, 2),
        "mean": (3, 2),
    }


def test_an_exported_program_and_its_file_give_the_modules_jacobian(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    x = draw(4, 3, dtype=torch.float32)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "model.pt2")
    expected = nj.jacobian(module, x).to_numpy()
    np.testing.assert_allclose(nj.jacobian(program, x).to_numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(nj.jacobian(str(tmp_path / "model.pt2"), x).to_numpy(), expected, rtol=1e-5)
    J = nj.jacobian(tmp_path / "model.pt2", x, wrt="parameters")
    assert list(J) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"PK\x03\x04 not really a zip")
    with pytest.raises(nj.ModelLoadError, match=r"torch\.export\.save"):
        nj.jacobian(tmp_path / "model.pt2", np.ones((2, 3)))
    with pytest.raises(nj.ModelLoadError, match="no file"):
        nj.jacobian(tmp_path / "absent.pt2", np.ones((2, 3)))


def test_a_pickle_is_refused_unopened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for name in ("model.pt", "model.pth", "model.pkl", "model.pt2"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(nj.ModelLoadError, match="not opened"):
            nj.jacobian(tmp_path / name, np.ones((2, 3)))
    assert not (tmp_path / "exploded").exists()


def test_dropout_in_training_mode_is_put_in_eval_and_a_hard_coded_one_refused():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    np.testing.assert_allclose(nj.jacobian(module, torch.ones(2, 3)).to_numpy()[0], module[0].weight.detach().numpy())

    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(nj.StochasticNetworkError, match="noise"):
        nj.jacobian(_Holder(Noisy()), torch.ones(2, 3))


class _Holder(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, x):
        return self.noise(x)


def test_an_operation_without_a_rule_is_named_with_its_module_and_the_way_out():
    class Far(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(nj.UnsupportedOperationError, match=r"bessel_j0.*'noise'.*engine='framework'"):
        nj.jacobian(_Holder(Far()), draw(2, 3))


def test_detach_and_argmax_heads():
    J = nj.jacobian(Lambda(lambda x: x * x.detach()), draw(2, 3)).to_numpy()
    np.testing.assert_allclose(np.diagonal(J, axis1=1, axis2=2), draw(2, 3).numpy())
    with pytest.raises(nj.NotDifferentiableError, match="argmax"):
        nj.jacobian(Lambda(lambda x: x.argmax(1)), draw(2, 3))


def test_a_batch_norm_on_batch_statistics_is_not_per_sample():
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    J = nj.jacobian(Centred(), draw(4, 2))
    assert J.batch is None
    assert J.shape == (4, 2, 4, 2)
    assert "mixes the samples" in str(J.structure)


def test_the_framework_engine_gives_the_same_numbers():
    module = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    x = draw(3, 1, 3, 3)
    with precise(True):
        ours, theirs = nj.jacobian(module, x).to_numpy(), nj.jacobian(module, x, engine="framework").to_numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_what_is_frozen_after_the_first_question_is_left_out_of_the_next():
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    network, x = nj.network(module), torch.ones(2, 4, dtype=torch.float64)
    assert len(nj.jacobian(network, x, wrt="parameters")) == 4
    module[0].requires_grad_(False)
    assert list(nj.jacobian(network, x, wrt="parameters")) == ["2.weight", "2.bias"]
    assert nj.parameter_matrix(network, x).shape == (4, 8)
    module[0].requires_grad_(True)
    assert len(nj.jacobian(network, x, wrt="parameters")) == 4


def test_words_go_through_a_float64_module_in_float64():
    """Integers say nothing of the dtype to compute in; the weights do."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    words = torch.tensor([[1, 2, 3], [0, 6, 6]])
    found = nj.jacobian(module, words, wrt="2.weight")
    assert found.dtype == np.float64
    inner = module[1](module[0](words)).detach().numpy()
    expected = np.einsum("bi,mn->bmni", inner, np.eye(2))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-14, atol=1e-15)
    y, _ = nj.value_and_jacobian(module, words, wrt="2.weight")
    assert y.dtype == torch.float64
    np.testing.assert_allclose(y.detach().numpy(), module(words).detach().numpy(), rtol=1e-14)


def test_a_pt2_file_without_torch_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(nj.MissingExtraError, match=r"a \.pt2 file needs torch.*netjac\[torch\]"):
        nj.network(tmp_path / "net.pt2")
