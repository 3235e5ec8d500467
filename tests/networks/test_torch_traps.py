"""What is easily given wrongly and silently: custom backwards, no_grad, padding rows, ties, and files that run code."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import netjac as nj
from tests.networks.test_torch import agreement, draw
from tests.networks.torch_models import Lambda


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_a_backward_of_ones_own_is_refused_not_dropped():
    module = Lambda(lambda x: 2 * Straight.apply(x))
    with pytest.raises(nj.UnsupportedOperationError, match=r"'Straight'.*engine='framework'"):
        nj.jacobian(module, draw(3, 4))
    J = nj.jacobian(module, draw(3, 4), engine="framework").to_numpy()
    np.testing.assert_allclose(J, np.broadcast_to(2 * np.eye(4), (3, 4, 4)))


def test_a_region_without_gradients_is_a_constant():
    def f(x):
        with torch.no_grad():
            h = x * x
        return x * h

    assert agreement(Lambda(f), draw(3, 4)) < 1e-12


def test_inference_mode_inside_is_a_constant_too():
    def f(x):
        with torch.inference_mode():
            h = x * x
        return x * h.clone()

    mode = vars(torch.inference_mode)["__enter__"]
    assert agreement(Lambda(f), draw(3, 4)) < 1e-12
    assert vars(torch.inference_mode)["__enter__"] is mode


@pytest.mark.parametrize("mode", [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_modes_that_the_caller_is_in_stay_outside(mode):
    module, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), draw(5, 3).float()
    want = torch.func.vmap(torch.func.jacrev(module))(x).detach().numpy()
    with mode():
        J = nj.jacobian(module, x)
        assert J.dtype == np.float32
        assert abs(J.to_numpy() - want).max() < 1e-6
        assert J.check().passed
    assert abs(nj.jacobian(module, x).to_numpy() - want).max() < 1e-6


def test_a_wrong_width_is_told_once(caplog):
    with pytest.raises(nj.ShapeError, match=r"\(4, 5\)"):
        nj.jacobian(nn.Linear(3, 2), torch.ones(4, 5))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_rows_of_different_lengths_are_no_array():
    for model in (nn.Linear(2, 2), lambda x: x):
        with pytest.raises(nj.ShapeError, match="rows differ in length"):
            nj.jacobian(model, [[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("checked", [True, False])
def test_checks_of_distributions_are_as_they_were_after_an_export(monkeypatch, checked):
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", checked)  # torch's compiler turns them off
    assert agreement(Lambda(lambda x: torch.distributions.Normal(x, 1.0).mean), draw(3, 4)) < 1e-12
    assert torch.distributions.Distribution._validate_args is checked


def test_a_module_without_weights_computes_in_the_dtype_of_its_input():
    module = Lambda(lambda x: torch.linalg.solve(torch.eye(3, dtype=torch.float64) + x.mT @ x, x.mT))
    module.register_buffer("unused", torch.ones(2, dtype=torch.int64))
    x = draw(2, 3, 3)
    want = torch.stack([torch.func.jacrev(module)(sample) for sample in x])
    J = nj.jacobian(module, x).to_numpy()
    assert abs(np.einsum("bijbkl->bijkl", J) - want.numpy()).max() < 1e-12


def test_arguments_by_keyword_alone_are_given_by_name():
    class Shifted(nn.Module):
        def forward(self, x, *, by, scale=2.0):
            return scale * x * by

    given = {"x": draw(2, 3), "by": draw(2, 3)}
    assert (
        np.diagonal(nj.jacobian(Shifted(), given)["by"].to_numpy(), axis1=1, axis2=2) == 2 * given["x"].numpy()
    ).all()
    with pytest.raises(nj.ShapeError, match="no 'by'; forward takes x, by, scale: give a dict by name"):
        nj.jacobian(Shifted(), draw(2, 3))


def test_lazy_layers_that_saw_no_input_are_named():
    module = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(2))
    with pytest.raises(nj.ShapeError, match=r"'1\.weight'.*call the module once"):
        nj.jacobian(module, torch.ones(2, 3))
    module(torch.ones(2, 3))
    assert nj.jacobian(module, torch.ones(2, 3)).shape == (2, 2, 3)


def test_torchscript_is_refused_whole_or_inside():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.script(nn.Linear(3, 2))
    with pytest.raises(nj.ModelLoadError, match="TorchScript"):
        nj.jacobian(script, torch.ones(2, 3))
    with pytest.raises(nj.UnsupportedOperationError, match="'1' is TorchScript"):
        nj.jacobian(nn.Sequential(nn.Tanh(), script), torch.ones(2, 3))


def test_dropout_that_ignores_the_mode_is_refused():
    with pytest.raises(nj.StochasticNetworkError, match="dropout"):
        nj.jacobian(Lambda(lambda x: F.dropout(x, 0.5, training=True)), draw(3, 4))


def test_the_row_of_padding_is_not_learned():
    module = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Flatten()).double()
    J = nj.jacobian(module, torch.tensor([[0, 2], [1, 0]]), wrt="parameters")["0.weight"].to_numpy()
    assert not J[:, :, 0].any()
    assert J[0, :, 2].sum() == 3


@pytest.mark.parametrize(
    ("name", "function", "x"),
    [
        ("std of equal entries", lambda x: x.std(1), torch.ones(3, 4, dtype=torch.float64)),
        (
            "fmax at a tie",
            lambda x: torch.fmax(x, torch.zeros_like(x).detach()),
            torch.zeros(3, 4, dtype=torch.float64),
        ),
        ("abs at zero", torch.abs, torch.zeros(3, 4, dtype=torch.float64)),
        ("norm at zero", lambda x: x.norm(dim=1), torch.zeros(3, 4, dtype=torch.float64)),
        (
            "a tie in an adaptive pool",
            nn.AdaptiveMaxPool2d(1),
            torch.tensor([[[[0.0, 1], [1, 0]]]]).double().repeat(2, 1, 1, 1),
        ),
        ("a tie in a pool", nn.MaxPool2d(2), torch.ones(2, 1, 4, 4, dtype=torch.float64)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_torch_has_a_convention_it_is_kept(name, function, x):
    ours = nj.jacobian(Lambda(function), x).to_numpy()
    theirs = nj.jacobian(Lambda(function), x, engine="framework").to_numpy()
    np.testing.assert_allclose(ours, theirs)


def test_a_row_of_attention_that_looks_nowhere_gives_nothing():
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    assert agreement(Lambda(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=mask)), draw(2, 3, 4)) < 1e-12


def test_a_boolean_mask_assigns():
    assert agreement(Lambda(lambda x: x.clone().index_put((x > 0,), torch.tensor(0.0).double())), draw(3, 4)) < 1e-12


def test_what_a_rule_does_not_take_is_an_error_that_names_it():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(4, 5, proj_size=3, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0]

    with pytest.raises(nj.UnsupportedOperationError, match=r"lstm.*'cell'.*proj_size"):
        nj.jacobian(Projected(), torch.ones(2, 3, 4))


def test_inputs_of_a_wrong_shape_are_the_callers_mistake():
    with pytest.raises(nj.ShapeError, match=r"\(4, 5\)"):
        nj.jacobian(nn.Linear(3, 2), torch.ones(4, 5))


def test_a_program_exported_for_one_batch_size_says_so(tmp_path):
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(4, 3),))
    assert nj.jacobian(program, torch.ones(4, 3)).shape == (4, 2, 3)
    with pytest.raises(nj.ShapeError, match="dynamic_shapes"):
        nj.jacobian(program, torch.ones(5, 3))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def archive_with(source, target, change):
    """A copy of a .pt2 archive with members changed or added by `change(name, content)` → content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_an_archive_that_could_run_code_is_refused_before_torch_sees_it(tmp_path):
    good = tmp_path / "good.pt2"
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.ones(4, 3),), dynamic_shapes=free), good)
    assert nj.jacobian(good, torch.ones(5, 3)).shape == (5, 2, 3)
    bomb = pickle.dumps(Bomb(str(tmp_path / "exploded")))
    crafted = io.BytesIO()
    torch.save(Bomb(str(tmp_path / "exploded")), crafted)
    changes = {
        "sample inputs": lambda name, c: crafted.getvalue() if name.endswith(".pt") else c,
        "a plain pickle": lambda name, c: bomb if name.endswith(".pt") else c,
        "pickled weights": lambda name, c: c.replace(b'"use_pickle": false', b'"use_pickle": true'),
        "a foreign call": lambda name, c: c.replace(b"torch.ops.aten.linear.default", b"torch.hub.load"),
        "an expression": lambda name, c: c.replace(b'"expr_str": "', b'"expr_str": "().__class__ + '),
        "a type by name": lambda name, c: c.replace(b"builtins.tuple", b"collections.defaultdict"),
    }
    for what, change in changes.items():
        archive_with(good, tmp_path / "bad.pt2", change)
        with pytest.raises(nj.ModelLoadError, match="not opened"):
            nj.jacobian(tmp_path / "bad.pt2", torch.ones(5, 3))
        assert not (tmp_path / "exploded").exists(), what


def test_the_hidden_state_of_a_recurrent_layer_has_a_name_of_its_own():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.cell(x)[1][0][0])

    assert [spec.name for spec in nj.network(Last(), torch.ones(2, 3, 4)).layers] == ["cell.1", "head"]


@pytest.mark.parametrize("given", ["module", "file"])
def test_beside_tensorflow_triton_is_left_alone(given, tmp_path):
    """Loaded after TensorFlow it ends the process, as the one here does; torch.export would load it."""
    (tmp_path / "tensorflow.py").touch()
    (tmp_path / "triton.py").write_text("import os; os._exit(3)")
    torch.export.save(torch.export.export(nn.Linear(3, 2), (draw(2, 3).float(),)), tmp_path / "net.pt2")
    net = {"module": "torch.nn.Linear(3, 2)", "file": "'net.pt2'"}[given]
    code = f"import tensorflow, torch, netjac as nj; print(nj.jacobian({net}, torch.ones(2, 3)).to_numpy().shape)"
    paths = os.pathsep.join([str(tmp_path), str(Path(nj.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "(2, 2, 3)\n"), done.stderr[-2000:]


class ByLength(nn.Module):
    """torch takes what len(x) gives for a constant."""

    def __init__(self):
        super().__init__()
        self.word = nn.Parameter(torch.randn(1, 1, 3))
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(torch.cat([self.word.expand(len(x), -1, -1), torch.sin(x)], 1)).flatten(1)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_network_that_reads_its_number_of_samples_takes_any(samples):
    model = ByLength().double().eval()
    x = torch.randn(samples, 2, 3, dtype=torch.float64)
    J = nj.jacobian(model, x)
    own = [torch.autograd.functional.jacobian(lambda v: model(v[None])[0], one) for one in x]
    assert torch.allclose(J.matrix(), torch.stack(own).flatten(2), rtol=0, atol=1e-13)
    assert J.structure.per_sample
    many = nj.jacobian(model, torch.cat([x, x, x])).matrix()
    assert torch.allclose(many, torch.stack(own * 3).flatten(2), rtol=0, atol=1e-13)
