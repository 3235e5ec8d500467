import json
import sys

import numpy as np
import pytest

import netjac as nj
from netjac.cli import main

MODULE = """
import jax.numpy as jnp
import numpy as np
rng = np.random.default_rng(0)
W, V = rng.standard_normal((6, 8)), rng.standard_normal((8, 3))
def net(x):
    return jnp.tanh(x @ W.astype(x.dtype)) @ V.astype(x.dtype)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The name of a network in the current folder, with x.npy and y.npy beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "attacked_network", raising=False)
    (tmp_path / "attacked_network.py").write_text(MODULE)
    x = np.random.default_rng(1).uniform(0, 1, (20, 6))
    np.save("x.npy", x)
    scope: dict = {}
    exec(MODULE, scope)
    np.save("y.npy", (np.tanh(x @ scope["W"]) @ scope["V"]).argmax(1))
    return "attacked_network:net"


def test_it_saves_what_the_library_finds(model, capsys):
    arguments = ["attack", model, "x.npy", "--batched", "--labels", "y.npy", "--bounds", "0,1", "-o", "found.npz"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    saved = np.load("found.npz")
    network = nj.network(sys.modules["attacked_network"].net, batched=True)
    expected = nj.attacks.deepfool(network, np.load("x.npy"), np.load("y.npy"), bounds=(0, 1))
    for name in ("raw", "adversarial", "success", "distance", "labels", "predicted"):
        assert np.array_equal(saved[name], getattr(expected, name))
    assert f"DeepFool: {expected.success.sum()} of 20 samples misclassified" in told
    assert "saved to found.npz" in told


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fgsm", {"epsilon": 0.2, "norm": "inf"}),
        ("pgd", {"epsilon": 0.2, "steps": 3, "seed": 4}),
        ("jsma", {"theta": -0.5, "gamma": 0.5}),
    ],
)
def test_json_tells_the_numbers(model, capsys, method, options):
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["attack", model, "x.npy", "--batched", "--method", method, "--target", "1", "--json", *given]) == 0
    told = json.loads(capsys.readouterr().out)
    network = nj.network(sys.modules["attacked_network"].net, batched=True)
    expected = getattr(nj.attacks, method)(network, np.load("x.npy"), targets=1, **options)
    assert told == {**expected.to_dict(), "file": None}
    assert told["targeted"]


def test_quiet_prints_nothing(model, capsys):
    assert main(["attack", model, "x.npy", "--batched", "--quiet", "-o", "found.npz"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--method", "fgsm"], "--epsilon is missing"),
        (["--theta", "1"], "--theta is no option of deepfool; it belongs to jsma"),
        (["--bounds", "0"], "--bounds '0' is no pair of numbers"),
        (["--bounds", "0.5,1"], "outside bounds [0.5, 1]"),
        (["--target", "7"], "targets[0] is 7, and the model's 3 classes"),
        (["--labels", "none.npy"], "does not exist"),
        (["--labels", "x.npy"], "y is of shape (20, 6)"),
        (["-o", "found.npy"], "end it in .npz"),
    ],
)
def test_bad_input_is_told_in_one_line(model, capsys, arguments, told):
    assert main(["attack", model, "x.npy", "--batched", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert told in err
