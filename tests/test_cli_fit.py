"""`netjac fit` from the shell."""

from __future__ import annotations

import itertools
import json
import sys

import keras
import numpy as np
import pytest

from netjac.cli import main

NETWORK = """
import jax, numpy as np
rng = np.random.default_rng(0)
net = jax.tree_util.Partial(
    lambda p, x: jax.numpy.tanh(x @ p["W"]) @ p["V"],
    {"W": rng.standard_normal((3, 6)), "V": rng.standard_normal((6, 2))},
)
still = lambda x: x
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with a network in the current folder, beside x.npy, y.npy and classes.csv."""
    name = f"cli_fit_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    x = np.random.default_rng(1).standard_normal((40, 3))
    np.save("x.npy", x)
    np.save("y.npy", np.stack([np.sin(x[:, 0]), x[:, 1] ** 2], 1))
    np.savetxt("classes.csv", x[:, 0] > 0, fmt="%d")
    return name


def test_parameters_are_fitted_and_saved_by_name(module, capsys):
    arguments = ["fit", f"{module}:net", "x.npy", "--targets", "y.npy", "--iterations", "20", "-o", "p.npz", "--json"]
    assert main(arguments) == 0
    told, saved = json.loads(capsys.readouterr().out), np.load("p.npz")
    assert told["loss"] < 0.2 * told["initial_loss"]
    assert {name: list(saved[name].shape) for name in saved.files} == told["parameters"]
    names = {name[-1]: name for name in saved.files}
    x, y = np.load("x.npy"), np.load("y.npy")
    loss = np.mean((np.tanh(x @ saved[names["W"]]) @ saved[names["V"]] - y) ** 2)
    assert loss == pytest.approx(told["loss"], rel=1e-10)


def test_it_says_what_was_done_and_draws_it(module, capsys):
    arguments = ["fit", f"{module}:net", "x.npy", "--targets", "classes.csv", "--loss", "cross-entropy"]
    assert main([*arguments, "--iterations", "5", "--validation", "x.npy", "classes.csv", "-o", "fit.png"]) == 0
    told = capsys.readouterr().out
    assert "cross-entropy" in told
    assert "saved to fit.png" in told
    with open("fit.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_it_ends_once_validation_has_not_improved_for_as_many_iterations_as_it_was_told(module, capsys):
    np.save("opposite.npy", -np.load("y.npy"))
    beside = ["--validation", "x.npy", "opposite.npy"]
    arguments = ["fit", f"{module}:net", "x.npy", "--targets", "y.npy", *beside, "--json"]
    ends = []
    for patience in (2, 4):
        main([*arguments, "--patience", str(patience)])
        told = json.loads(capsys.readouterr().out)
        assert told["stopped"] == f"the validation loss has not improved for {patience} iterations"
        ends.append(told["iterations"])
    assert ends[0] + 2 <= ends[1] < 100


def test_a_keras_file_comes_back_fitted(module, capsys):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)]).save("m.keras")
    arguments = ["fit", "m.keras", "x.npy", "--targets", "y.npy", "--iterations", "15", "-o", "fitted.keras", "--json"]
    assert main([*arguments, "--dtype", "float32"]) == 0
    told = json.loads(capsys.readouterr().out)
    predicted = keras.models.load_model("fitted.keras").predict(np.load("x.npy").astype("float32"), verbose=0)
    assert np.mean((predicted - np.load("y.npy")) ** 2) == pytest.approx(told["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["MODULE:net", "x.npy"], "--targets is missing"),
        (["MODULE:net", "x.npy", "--targets", "y.npy", "-o", "p.txt"], ".npz"),
        (["MODULE:net", "x.npy", "--targets", "y.npy", "-o", "p.keras"], "give an .npz"),
        (["MODULE:net", "x.npy", "--targets", "classes.csv"], "(40, 2)"),
        (["MODULE:net", "x.npy", "--targets", "none.npy"], "none.npy"),
        (["MODULE:net", "x.npy", "--targets", "y.npy", "--method", "adam"], "levenberg-marquardt"),
        (["MODULE:still", "x.npy", "--targets", "y.npy"], "no trainable parameters"),
    ],
)
def test_bad_input_is_refused_in_one_line(module, arguments, said, capsys):
    assert main(["fit", *(one.replace("MODULE", module) for one in arguments)]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
